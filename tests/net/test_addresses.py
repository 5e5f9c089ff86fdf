# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses as devices tell them to each other: what is accepted, and what is worth saying."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holofsd.core.errors import BadConfiguration
from holofsd.net.addresses import (
    MAX_ADDRESSES,
    dialable,
    is_companion,
    is_meant,
    network_of,
    parse,
    render,
    sockets_again,
    sockets_for,
    usable,
)


@pytest.mark.parametrize("text", ["127.0.0.1:0", "10.1.2.3:65535", "[::1]:4000", "[fe80::1]:1"])
def test_an_address_is_read_and_written_alike(text):
    assert render(*parse(text)) == text


@pytest.mark.parametrize(
    "text", ["", ":", "1.2.3.4", "1.2.3.4:", "1.2.3.4:x", "1.2.3.4:70000", "1.2.3.4:-1", "::1:5", "[1.2.3.4]:5",
             "[::1]", "host:80", "1.2.3.4:٣", "[::1:5", "1.2.3.4:1 "],
)  # fmt: skip
def test_what_is_no_address_is_told_apart(text):
    assert parse(text) is None


@given(st.text())
def test_no_text_makes_reading_an_address_fail(text):
    parse(text)
    usable([text])


def test_only_what_can_be_dialled_is_usable_and_each_once():
    given_addresses = ["1.2.3.4:5", "0.0.0.0:5", "[::]:5", "1.2.3.4:0", "1.2.3.4:5", "224.0.0.1:5", "junk", "[::1]:9"]
    assert usable(given_addresses) == ["1.2.3.4:5", "[::1]:9"]


@pytest.mark.parametrize(
    "text",
    ["255.255.255.255:5", "240.0.0.1:5", "0.1.2.3:5", "239.1.2.3:5", "[ff02::1]:5", "[::ffff:127.0.0.1]:5",
     "[::ffff:224.0.0.1]:5", "[::127.0.0.1]:5", "[64:ff9b::7f00:1]:5", "[fe80::1]:5",
     "[fe80::1%1]:5", "[2001:db8::1%2]:5"],
)  # fmt: skip
def test_what_is_no_single_machine_is_not_usable(text):
    assert usable([text]) == []


@pytest.mark.parametrize(
    ("bind", "own", "named", "dialled"),
    [
        # A device on a network, bound to all of it: nothing of its own machine, and no service of another one.
        ("", ["10.0.0.5:4000"], ["127.0.0.1:5000", "[::1]:5000", "10.0.0.9:53", "10.0.0.9:1023"], []),
        ("0.0.0.0:0", ["10.0.0.5:4000"], ["10.0.0.9:1024", "8.8.8.8:443", "[2001:db8::1]:4000"], None),
        ("", ["10.0.0.5:4000"], ["169.254.169.254:4000"], []),
        ("", ["169.254.1.1:4000", "10.0.0.5:4000"], ["169.254.7.7:4000"], None),
        # On this machine alone, or on one that has no network.
        ("127.0.0.1:0", ["127.0.0.1:4000"], ["127.0.0.1:5000"], None),
        ("127.0.0.1:0", ["127.0.0.1:4000"], ["127.0.0.1:53", "10.0.0.9:5000"], []),
        ("", ["127.0.0.1:4000"], ["127.0.0.1:5000"], None),
        # Before the network said where we are.
        ("", [], ["10.0.0.9:4000"], None),
        ("", ["junk"], ["127.0.0.1:4000"], []),
    ],
)
def test_what_others_name_is_dialled_only_where_a_device_can_be(bind, own, named, dialled):
    assert dialable(named, bind, own) == (named if dialled is None else dialled)


def test_attempts_are_counted_by_the_machine_whatever_its_port():
    assert network_of("10.0.0.1:1") == network_of("10.0.0.1:2") != network_of("10.0.0.2:1")
    assert network_of("[2001:db8:1:2::3]:1") == network_of("[2001:db8:1:2:4::]:9") != network_of("[2001:db8:1:3::3]:1")
    assert network_of("relay:https://x") == "relay:https://x"


def test_a_flood_of_addresses_is_cut():
    assert len(usable(f"10.0.0.1:{port}" for port in range(1, 1000))) == MAX_ADDRESSES


@pytest.mark.parametrize(
    ("bind", "sockets"),
    [
        ("", ()),
        ("127.0.0.1:0", ("127.0.0.1:0", "[::1]:0")),
        ("[::1]:7", ("[::1]:7", "127.0.0.1:0")),
        ("10.0.0.5:7", ("10.0.0.5:7", "[::1]:0")),
        ("0.0.0.0:7", ("0.0.0.0:7",)),
    ],
)
def test_nothing_is_opened_that_was_not_asked_for(bind, sockets):
    assert sockets_for(bind) == sockets


def test_a_bind_that_is_no_address_says_what_one_looks_like():
    with pytest.raises(BadConfiguration, match=r"127\.0\.0\.1:0"):
        sockets_for("localhost")


@pytest.mark.parametrize(
    ("bind", "last", "sockets"),
    [
        ("127.0.0.1:0", ("127.0.0.1:5", "[::1]:6"), ("127.0.0.1:5", "[::1]:6")),
        ("", ("0.0.0.0:5", "[::]:6"), ("0.0.0.0:5", "[::]:6")),
        ("", ("127.0.0.1:5", "[::1]:6"), ()),
        ("127.0.0.1:0", ("0.0.0.0:5", "[::]:6"), ()),
        ("127.0.0.1:9", ("127.0.0.1:5", "[::1]:6"), ()),
        ("127.0.0.1:0", ("junk",), ()),
        ("127.0.0.1:0", (), ()),
    ],
)
def test_sockets_of_the_last_time_are_taken_again_only_where_they_fit(bind, last, sockets):
    assert sockets_again(bind, last) == sockets


@pytest.mark.parametrize(
    ("bind", "meant", "others"),
    [
        ("127.0.0.1:0", ["127.0.0.1:5"], ["[::1]:5", "10.0.0.5:5", "junk"]),
        ("[::1]:7", ["[::1]:5"], ["127.0.0.1:5", "[fe80::1]:1"]),
        ("10.0.0.5:7", ["10.0.0.5:5", "203.0.113.9:5"], ["127.0.0.1:5", "[2001:db8::1]:1"]),
        ("0.0.0.0:0", ["10.0.0.5:5", "[::1]:5"], []),
        ("", ["10.0.0.5:5", "[::1]:5"], []),
    ],
)
def test_only_addresses_that_were_asked_for_are_told_of_and_dialled(bind, meant, others):
    assert [address for address in meant + others if is_meant(bind, address)] == meant


def test_the_loopback_that_only_iroh_wants_is_not_told_of():
    assert is_companion("127.0.0.1:0", "[::1]:5")
    assert is_companion("10.0.0.5:7", "[::1]:5")
    assert is_companion("[::1]:7", "127.0.0.1:5")
    told = [
        ("127.0.0.1:0", "127.0.0.1:5"),
        ("127.0.0.1:0", "203.0.113.5:4000"),
        ("", "[::1]:5"),
        ("0.0.0.0:0", "[::1]:5"),
    ]
    assert not any(is_companion(bind, address) for bind, address in told)
