# SPDX-License-Identifier: GPL-3.0-or-later
"""Bytes from outside, before anybody is asked: they mean something or are refused, in bounded time and memory."""

from __future__ import annotations

import base64
import contextlib
import time
from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from blake3 import blake3
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from fuzz.effort import effort
from fuzz.examples import (
    CREDENTIALS,
    DEVICE,
    DROPPED,
    ENVELOPE,
    FOLDED,
    FRAMES,
    HEAD,
    INVITE,
    MARK,
    NODE,
    NODES,
    POOLS,
    VOLUME,
)
from fuzz.messages import altered, as_bytes, damaged, messages
from holofs_api.framing import FrameParser, FrameTooLong
from holofs_peer.v1 import peer_pb2 as pb
from holofsd.codec import wire
from holofsd.codec.checks import parse
from holofsd.codec.letting_go import decode_dropped, decode_folded
from holofsd.codec.records import decode_device, decode_state, decode_volume, encode_state
from holofsd.codec.ticket import PREFIX, decode_ticket
from holofsd.core import edit
from holofsd.core.errors import ProtocolViolation, Refused, TicketInvalid
from holofsd.core.join import join
from holofsd.core.node import is_alive, live_versions, placements
from holofsd.core.shrinking import shrunk
from holofsd.sync import frames
from support.states import shown_version

M = TypeVar("M", bound=Message)
SLOWEST_S = 5.0
"""Far above what any message of the permitted size takes, on a machine that does other things too."""


def in_time(read: Callable[[bytes], object], data: bytes, *refusals: type[Exception]) -> object:
    """Read the bytes within a time. Returns their meaning, or None if it is refused as it should be."""
    started = time.process_time()
    found = None
    with contextlib.suppress(*refusals):
        found = read(data)
    assert time.process_time() - started < SLOWEST_S
    return found


@effort(150)
@given(damaged(as_bytes(st.one_of(altered(NODES, POOLS), altered(NODES, POOLS), messages(pb.NodeRecord, POOLS)))))
def test_a_record_is_refused_or_is_a_state_that_everything_can_be_done_with(data: bytes) -> None:
    state = in_time(decode_state, data, Refused)
    if state is None:
        return
    again = decode_state(encode_state(state))  # type: ignore[arg-type]
    assert again == state
    assert join(again, again) == again
    placements(again), live_versions(again), shown_version(again), is_alive(again)
    gone = edit.removed(again)
    assert not is_alive(gone)
    assert not is_alive(join(again, decode_state(encode_state(shrunk(gone)))))


@effort(80)
@given(altered(NODES[:3], POOLS), altered(NODES[:3], POOLS))
def test_records_of_one_node_join_in_any_order(one: Any, other: Any) -> None:
    found = []
    for message in (one, other):
        message.format, message.id, message.kind, message.created_ns = 1, NODE, 1, 0
        # Of one dot there is one version: who gives it twice is caught before (signatures, forks).
        with contextlib.suppress(Refused):
            found.append(decode_state(message.SerializeToString()))
    if len(found) == 2:
        joined = join(*found)
        assert joined == join(*reversed(found))
        assert join(joined, found[0]) == joined
        assert decode_state(encode_state(joined)) == joined


@pytest.mark.parametrize(
    ("good", "read"),
    [
        (DEVICE, decode_device),
        (VOLUME, decode_volume),
        (ENVELOPE, lambda data: wire.from_envelope(parsed(pb.Envelope(), data))),
        (HEAD, lambda data: wire.from_head(parsed(pb.Head(), data))),
        (MARK, wire.decode_mark),
        (CREDENTIALS, wire.decode_credentials),
        (DROPPED, decode_dropped),
        (FOLDED, decode_folded),
    ],
    ids=["device", "volume", "envelope", "head", "mark", "credentials", "dropped", "folded"],
)
def test_what_surrounds_records_is_refused_or_means_something(good: Any, read: Callable[[bytes], object]) -> None:
    assert read(good.SerializeToString()) is not None

    @effort(60)
    @given(damaged(as_bytes(altered([good], POOLS))))
    def refused_or_read(data: bytes) -> None:
        in_time(read, data, Refused)

    refused_or_read()


def parsed(message: M, data: bytes) -> M:
    """Parse as the message that carries it is parsed."""
    parse(message, data, len(data), "message")
    return message


READERS: dict[str, Callable[[Any], object]] = {
    "have": lambda have: (frames.read_heads(have), frames.read_folded(have)),
    "records": frames.read_records,
    "marks": frames.read_marks,
    "credentials": frames.read_credentials,
}


@effort(150)
@given(damaged(as_bytes(altered(FRAMES, POOLS))))
def test_a_frame_is_refused_or_read(data: bytes) -> None:
    frame = in_time(frames.parse, data, ProtocolViolation)
    if isinstance(frame, pb.Frame) and (kind := frame.WhichOneof("frame")) in READERS:
        with contextlib.suppress(ProtocolViolation):
            READERS[kind](getattr(frame, kind))


@effort(100)
@given(damaged(as_bytes(altered([INVITE], POOLS))), st.booleans())
def test_a_ticket_is_refused_or_is_an_invite(data: bytes, sealed: bool) -> None:
    checksum = blake3(b"holofs-ticket-1" + data).digest(4) if sealed else b"ABCD"
    text = PREFIX + base64.b32encode(data + checksum).decode().rstrip("=").lower()
    invite = None
    with contextlib.suppress(TicketInvalid):
        invite = decode_ticket(text)
    if invite is None:
        return
    assert len(invite.secret) == 16
    assert len(invite.volume) == len(invite.issuer) == 32


@effort(60)
@given(st.text(max_size=300))
def test_a_text_that_is_no_ticket_is_refused(text: str) -> None:
    for candidate in (text, PREFIX + text):
        with contextlib.suppress(TicketInvalid):
            decode_ticket(candidate)


@effort(60)
@given(st.lists(st.binary(max_size=60), max_size=8))
def test_a_parser_of_frames_keeps_no_more_than_it_was_given(pieces: list[bytes]) -> None:
    parser = FrameParser(limit=100)
    given_bytes = sum(map(len, pieces))
    found = 0
    with contextlib.suppress(FrameTooLong):
        for piece in pieces:
            parser.feed(piece)
            while (body := parser.pop()) is not None:
                assert len(body) <= 100
                found += len(body)
    assert found <= given_bytes


def test_nested_messages_do_not_exhaust_the_stack() -> None:
    data = b""
    for _ in range(3000):
        length = len(data)
        varint = bytearray()
        while length >= 0x80:
            varint.append(length & 0x7F | 0x80)
            length >>= 7
        data = b"\x1a" + bytes(varint) + bytes([length]) + data
    assert in_time(frames.parse, data[:500_000], ProtocolViolation) is None or True
    in_time(decode_state, data[:500_000], Refused)
