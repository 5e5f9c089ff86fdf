# SPDX-License-Identifier: GPL-3.0-or-later
"""The first hour of a person with two devices: names, tickets, what is told of what is not there yet."""

from __future__ import annotations

import ipaddress
from functools import partial

import pytest

from support.device import Device, World
from support.wait import until


def test_a_device_keeps_its_first_name_and_tells_the_others_of_a_new_one(world: World) -> None:
    a, b = world.sharing("a", "b")
    assert a.ctl("device", "name").out == "a\n"
    a.down()
    a.environment["HOLOFS_DEVICE_NAME"] = "renamed-host"
    a.up()
    assert a.json("device", "name") == {"schema": 1, "name": "a", "device_id": a.device_id()}
    folder_a, folder_b = a.mount(), b.mount()
    for word in ("a/b", "x" * 65, "-x", " x", "two\nlines", "f" * 64, "."):
        assert a.ctl("device", "name", word, check=False).code == 2
    a.ctl("device", "name", "the laptop")
    assert a.status()["device_name"] == "the laptop"
    until(lambda: [m["name"] for m in b.json("members", "docs")] == ["b", "the laptop"], "b to hear of it")
    assert [peer["name"] for peer in b.json("peers")] == ["the laptop"]
    assert b.volume_status()["devices"][0]["name"] == "the laptop"
    folder_a.joinpath("by a").write_text("1")
    until(lambda: folder_b.joinpath("by a").exists(), "the file to arrive")
    assert b.json("history", folder_b / "by a")[0]["device"] == "the laptop"
    b.down()
    b.up()
    assert "the laptop" in b.ctl("members", "docs").out


def test_a_mistyped_ticket_is_wrong_usage_and_a_used_one_a_refusal(world: World) -> None:
    a, b, c = world.running("a", "b", "c")
    a.allowed.append("an invite was refused")
    a.create()
    ticket = a.share()
    middle = len(ticket) // 2
    mistyped = ticket[:middle] + ("a" if ticket[middle] != "a" else "b") + ticket[middle + 1 :]
    for wrong in (mistyped, ticket[:-3], ticket + "a", ticket[8:]):
        refused = b.ctl("join", wrong, check=False)
        assert (refused.code, refused.out) == (2, "")
        assert wrong not in refused.err
    b.join(ticket.upper())
    assert c.ctl("join", ticket, check=False).code == 4


def test_an_invite_is_given_again_while_it_is_good(world: World) -> None:
    a, b = world.running("a", "b")
    a.create()
    first = a.share("docs", "--reuse")
    assert a.share("docs", "--reuse") == first
    assert a.share("docs", "--reuse", "--read-only") != first
    assert a.share("docs", "--reuse", "--uses", "2") != first
    assert len(a.json("share", "--list", "docs")) == 3
    b.join(first)
    second = a.share("docs", "--reuse")
    assert second != first
    short = a.share("docs", "--admin", "--expires", "5m")
    assert a.share("docs", "--admin", "--reuse") != short, "nobody has the time to redeem it"


def test_a_volume_that_is_not_there_yet_is_not_only_on_this_device(world: World) -> None:
    a, b = world.running("a", "b")
    a.create()
    ticket = a.share()
    a.down()
    b.ctl("join", ticket, "--no-wait")
    said = b.ctl("status").out
    assert "joining" in said
    assert "Only on this device" not in said
    assert "0 files" not in said
    assert "on the device that made the invite" in said


def _address(device: Device) -> str:
    """Address at which the other device is connected; empty: it is not."""
    (peer,) = device.json("peers")
    return str(peer["address"]) if peer["connected"] else ""


def test_only_addresses_that_a_device_may_listen_at_are_told(world: World) -> None:
    a, b = world.sharing("a", "b")
    for device in (a, b):
        host = until(partial(_address, device), "the other to be connected").rpartition(":")[0]
        assert ipaddress.ip_address(host) == ipaddress.ip_address("127.0.0.1")
    b.down()
    b.up()
    assert until(partial(_address, a), "b to be back").startswith("127.0.0.1:")


@pytest.mark.parametrize("when", ["2199-01-01", "2199-01-01 10:00"])
def test_what_will_be_cannot_be_shown(world: World, when: str) -> None:
    (a,) = world.running("a")
    a.create()
    folder = a.home / "then"
    folder.mkdir()
    for words in (["mount", "docs", folder, "--at", when], ["restore", "docs:file", "--at", when]):
        refused = a.ctl(*words, check=False)
        assert refused.code == 2
        assert "is in the future" in refused.err
    assert not folder.is_mount()
