# SPDX-License-Identifier: GPL-3.0-or-later
"""Tickets survive being copied by people, and say what is wrong without repeating the secret."""

from __future__ import annotations

import base64

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from holofsd.codec.ticket import PREFIX, Invite, decode_ticket, encode_ticket
from holofsd.core.document import Role
from holofsd.core.errors import TicketInvalid
from holofsd.core.ids import DeviceId, VolumeId

INVITE = Invite(
    VolumeId(b"V" * 32), b"0123456789abcdef", Role.WRITER, DeviceId(b"d" * 32), ("192.0.2.1:4000",), "", "My Döcs"
)
TICKET = encode_ticket(INVITE)


def refused(text: str) -> str:
    with pytest.raises(TicketInvalid) as caught:
        decode_ticket(text)
    message = caught.value.message
    assert TICKET[10:40] not in message
    assert "\n" not in message
    return message


@given(
    st.binary(min_size=16, max_size=16),
    st.sampled_from(Role),
    st.lists(st.text(max_size=30), max_size=5).map(tuple),
    st.text(max_size=40),
    st.text(max_size=40),
)
def test_an_invite_comes_back_as_it_was(
    secret: bytes, role: Role, addresses: tuple[str, ...], relay: str, name: str
) -> None:
    invite = Invite(VolumeId(b"V" * 32), secret, role, DeviceId(b"d" * 32), addresses, relay, name)
    ticket = encode_ticket(invite)
    assert ticket.startswith(PREFIX)
    assert ticket.isalnum()
    assert ticket == ticket.lower()
    assert decode_ticket(ticket) == invite


def test_case_and_white_space_do_not_matter() -> None:
    wrapped = "\n ".join(TICKET[i : i + 40] for i in range(0, len(TICKET), 40))
    assert decode_ticket(f"  {wrapped.upper()}\r\n") == INVITE


@pytest.mark.parametrize(
    "text", ["", "  \n", "hello", "holofs2" + TICKET[7:], TICKET[1:], "https://example.org/x", "ß" * 9]
)
def test_what_is_no_ticket_is_told_so(text: str) -> None:
    assert "holofs1" in refused(text)


@given(st.integers(len(PREFIX), len(TICKET) - 1))
def test_a_cut_ticket_is_refused(length: int) -> None:
    refused(TICKET[:length])


@settings(max_examples=200)
@given(st.integers(len(PREFIX), len(TICKET) - 1), st.sampled_from("abcdefghijklmnopqrstuvwxyz234567018é-"))
def test_a_mistyped_ticket_is_refused(at: int, letter: str) -> None:
    if TICKET[at] != letter:
        assert "copy it again" in refused(TICKET[:at] + letter + TICKET[at + 1 :])


@given(st.text(max_size=100))
def test_garbage_after_the_prefix_is_refused(garbage: str) -> None:
    refused(PREFIX + garbage)


def test_a_ticket_that_is_too_long_is_refused() -> None:
    refused(PREFIX + "a" * 100_000)


@pytest.mark.parametrize("data", [b"", b"\xff\xff", b"\x0a\x03abc", b"\x18\x07"])
def test_a_well_formed_ticket_with_a_bad_invite_is_refused(data: bytes) -> None:
    checksum = blake3(b"holofs-ticket-1" + data).digest(4)
    ticket = PREFIX + base64.b32encode(data + checksum).decode().rstrip("=").lower()
    assert "does not understand" in refused(ticket)


def test_an_invite_does_not_show_its_secret() -> None:
    assert "0123456789abcdef" not in repr(INVITE)
