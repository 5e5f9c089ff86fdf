# SPDX-License-Identifier: GPL-3.0-or-later
"""Every field of every message, at each end of what its type holds: refused in words, or brought into range."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from holofs_peer.v1 import peer_pb2 as pb
from holofsd.codec import records, wire
from holofsd.codec.checks import MAX_CLOCK_MS, MAX_NUMBER
from holofsd.codec.letting_go import decode_dropped, decode_folded
from holofsd.codec.ticket import PREFIX, _checksum, decode_ticket
from holofsd.core.errors import NotUnderstood, ProtocolViolation, Refused, TicketInvalid
from holofsd.core.text import device_name, one_line
from holofsd.sync import chunk_frames, frames
from holofsd.sync.config import MAX_HASHES, MAX_NAME, PAGE_RECORDS
from holofsd.sync.features import MOST_FEATURES, MOST_LETTERS
from holofsd.sync.names import DeviceNames
from holofsd.sync.session import PeerClock
from support.extremes import HOSTILE_TEXT, base, bases, extremes, types

REFUSALS = (Refused, NotUnderstood, ProtocolViolation, TicketInvalid)


def _frame(data: bytes) -> object:
    """Read a frame as a session, a content stream and the opener of either read it."""
    frame = frames.parse(data)
    kind = frame.WhichOneof("frame")
    if kind == "hello":
        opening = frames.read_hello(data)
        return opening.volume, opening.greeting, wire.from_credentials(opening.credentials)
    if kind == "welcome":
        return frames.read_welcome(frame)
    return None if kind is None else FRAMES[kind](getattr(frame, kind))


def _ticket(data: bytes) -> object:
    from base64 import b32encode

    return decode_ticket(PREFIX + b32encode(data + _checksum(data)).decode().rstrip("=").lower())


def _message(read: Callable[[Any], object], kind: type[Message]) -> Callable[[bytes], object]:
    return lambda data: read(kind.FromString(data))


FRAMES: dict[str, Callable[[Any], object]] = {
    "credentials": frames.read_credentials,
    "have": lambda have: (frames.read_heads(have), frames.read_folded(have)),
    "want": frames.read_want,
    "records": frames.read_records,
    "confirm": frames.read_confirm,
    "marks": frames.read_marks,
    "ping": lambda ping: None,  # only its number is used, which goes back as it came
    "pong": lambda pong: frames.read_pong(pong)[1],
    "bye": lambda bye: None,  # ends the session, whatever it says
    "get": lambda get: dataclasses.replace(frames.read_get(get), id=0),
    "blob": lambda blob: None,  # looked at by the receiver, against what was asked: tests/sync/test_hostile_content.py
    "hold": lambda hold: frames.read_hold(hold)[1],
    "held": lambda held: None,  # is never asked for
    "get_list": lambda message: dataclasses.replace(chunk_frames.read_get_list(message), id=0),
    "list": lambda part: None,  # these three are looked at against what was asked: tests/sync/test_bodies.py
    "get_pieces": lambda message: dataclasses.replace(chunk_frames.read_get_pieces(message), id=0),
    "piece": lambda piece: None,
    "ask": lambda message: chunk_frames.read_ask(message)[1],
    "has": lambda has: None,
}

READERS: dict[str, Callable[[bytes], object]] = {
    "Frame": _frame,
    "NodeRecord": records.decode_state,
    "DeviceRecord": records.decode_device,
    "VolumeRecord": records.decode_volume,
    "DroppedRecord": decode_dropped,
    "FoldedRecord": decode_folded,
    "Envelope": _message(wire.from_envelope, pb.Envelope),
    "Head": _message(wire.from_head, pb.Head),
    "Mark": wire.decode_mark,
    "Certificate": _message(wire.from_certificate, pb.Certificate),
    "Grant": _message(wire.from_grant, pb.Grant),
    "Removed": _message(wire.from_removed, pb.Removed),
    "Credentials": wire.decode_credentials,
    "Invite": _ticket,
}


def _reached(kind: Descriptor, found: set[str]) -> set[str]:
    if kind.name not in found:
        found.add(kind.name)
        for field in kind.fields:
            if field.message_type is not None:
                _reached(field.message_type, found)
    return found


def test_every_message_is_read_here_or_is_part_of_one_that_is() -> None:
    """Redeem and Redeemed are read where they are answered: tests/sync/test_invites.py."""
    reached = {"Redeem", "Redeemed"}
    for kind in types():
        if kind.name in READERS:
            _reached(kind, reached)
    assert {kind.name for kind in types()} == reached
    assert {field.name for field in pb.Frame.DESCRIPTOR.fields} == {"hello", "welcome", *FRAMES}


def _values(found: object) -> Iterator[object]:
    if dataclasses.is_dataclass(found) and not isinstance(found, type):
        for field in dataclasses.fields(found):
            yield from _values(getattr(found, field.name))
    elif isinstance(found, Mapping):
        for key, value in found.items():
            yield from _values(key)
            yield from _values(value)
    elif isinstance(found, range):
        yield from (found.start, found.stop, len(found))
    elif isinstance(found, tuple | list | set | frozenset):
        for value in found:
            yield from _values(value)
    else:
        yield found


def _check_range(found: object) -> None:
    for value in _values(found):
        assert isinstance(value, int | str | bytes | None), value
        if isinstance(value, int):
            assert -(2**63) <= value < 2**63, "a number that neither SQLite nor the local API can hold"
        elif value is not None:
            assert len(value) <= 1 << 20


@pytest.mark.parametrize("name", READERS)
def test_a_message_that_is_as_it_should_be_is_read(name: str) -> None:
    kind = pb.DESCRIPTOR.message_types_by_name[name]
    read = 0
    for message in bases(kind):
        try:
            _check_range(READERS[name](message.SerializeToString()))
            read += 1
        except REFUSALS:
            continue
    assert read, "the extremes of one field would hide behind another field"


@pytest.mark.parametrize("kind", [field.name for field in pb.Frame.DESCRIPTOR.fields])
def test_a_frame_of_each_kind_that_is_as_it_should_be_is_read(kind: str) -> None:
    frame = base(pb.Frame.DESCRIPTOR, {"Frame.frame": kind})
    _frame(frame.SerializeToString())


@pytest.mark.parametrize("name", READERS)
def test_no_extreme_of_any_field_gets_past_the_border(name: str) -> None:
    kind = pb.DESCRIPTOR.message_types_by_name[name]
    reasons: list[tuple[str, str]] = []
    for message in bases(kind):
        for what, made in extremes(message):
            try:
                found = READERS[name](made.SerializeToString())
            except REFUSALS as refusal:
                reasons.append((what, refusal.message))
                continue
            except Exception as error:
                raise AssertionError(f"{what}: {error!r}") from error
            try:
                _check_range(found)
            except AssertionError as error:
                raise AssertionError(f"{what}: {error}") from error
    for what, reason in reasons:
        assert len(reason) < 500, what
        assert reason.isprintable(), what


# ---- what is shown to people
def _greetings() -> Iterator[tuple[str, frames.Greeting]]:
    for kind in (pb.Hello, pb.Welcome):
        for what, made in extremes(base(kind.DESCRIPTOR)):
            frame = pb.Frame()
            getattr(frame, kind.DESCRIPTOR.name.lower()).CopyFrom(made)
            try:
                if kind is pb.Hello:
                    yield what, frames.read_hello(frame.SerializeToString()).greeting
                else:
                    yield what, frames.read_welcome(frame)
            except ProtocolViolation:
                continue


def test_what_a_device_says_of_itself_can_be_shown_stored_and_computed_with() -> None:
    seen = 0
    for what, greeting in _greetings():
        seen += 1
        assert greeting.name.isprintable(), what
        assert "/" not in greeting.name, what
        assert len(greeting.name) <= MAX_NAME, what
        assert 0 <= greeting.clock_ms <= MAX_CLOCK_MS, what
        assert 0 <= greeting.named_ms <= MAX_CLOCK_MS, what
        assert len(greeting.instance) in (0, 16), what
        assert len(greeting.features) <= MOST_FEATURES, what
        assert all(0 < len(name) <= MOST_LETTERS and name.isprintable() for name in greeting.features), what
        clock = PeerClock()
        clock.measured(greeting.clock_ms, 0, 0)
        assert clock.ahead_ms is not None
        assert abs(clock.ahead_ms) <= MAX_CLOCK_MS, what
    assert seen > 50


@pytest.mark.parametrize("text", [HOSTILE_TEXT, "\u202e", "\n" * 1_000_000, "\U000e0001", "\ud800", "a\u2028b"])
def test_a_name_that_cannot_be_shown_is_shown_without_what_hides_in_it(text: str) -> None:
    for shown in (one_line(text, 40), device_name(text, 40)):
        assert shown.isprintable()
        assert len(shown) <= 40
    assert "/" not in device_name(text, 40)


def test_a_name_that_can_be_shown_stays_as_it_is() -> None:
    for name in ("ann", "Anns Rechner (alt)", "Дом", "机", "ö" * 200):
        assert device_name(name, 200) == name


# ---- lists
def test_lists_of_a_frame_are_bounded() -> None:
    assert len(frames.read_hold(pb.Hold(hashes=[bytes(32)] * MAX_HASHES))[1]) == MAX_HASHES
    with pytest.raises(ProtocolViolation):
        frames.read_hold(pb.Hold(hashes=[bytes(32)] * (MAX_HASHES + 1)))
    envelope = base(pb.Envelope.DESCRIPTOR)
    with pytest.raises(ProtocolViolation):
        frames.read_records(pb.Records(author=b"k" * 32, envelopes=[envelope] * (PAGE_RECORDS + 1)))  # type: ignore[list-item]


def test_of_many_marks_of_one_device_the_newest_is_looked_at_alone() -> None:
    mark = base(pb.Mark.DESCRIPTOR)
    many = []
    for at_ms in (5, 9, 7):
        made = pb.Mark()
        made.CopyFrom(mark)
        made.at_ms = at_ms
        many.append(made)
    assert [mark.at_ms for mark in frames.read_marks(pb.Marks(marks=many))] == [9]


def test_a_name_kept_by_an_earlier_program_is_shown_safely_too() -> None:
    class Store:
        def metas(self, _prefix: str) -> list[tuple[str, bytes]]:
            return [("name-of:" + "ab" * 32, ("5 " + HOSTILE_TEXT).encode())]

        def meta(self, _key: str) -> bytes:
            return b"1 own"

    names = DeviceNames(Store(), b"o" * 32, "own", lambda: 1)  # type: ignore[arg-type]
    assert names.of(bytes.fromhex("ab" * 32)).isprintable()  # type: ignore[arg-type]
    assert MAX_NUMBER > MAX_CLOCK_MS
