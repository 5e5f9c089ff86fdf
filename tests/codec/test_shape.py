# SPDX-License-Identifier: GPL-3.0-or-later
"""Counting the parts of a message in its bytes: as many as it has, and never a parser that is led astray."""

from __future__ import annotations

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message
from hypothesis import given
from hypothesis import strategies as st

from holofs_peer.v1 import peer_pb2 as pb
from holofsd.codec import shape
from holofsd.codec.shape import check_parts
from holofsd.core.errors import ProtocolViolation, Refused
from holofsd.sync import frames
from support.extremes import base, extremes

FRAME = pb.Frame.DESCRIPTOR


def parts_of(message: Message, counted: shape.Places) -> int:
    """Count of the parts of a parsed message, as `check_parts` counts them."""
    found = 0
    for field, value in message.ListFields():
        if field.number not in counted:
            continue
        values = value if field.is_repeated else [value]
        found += len(values)
        inside = counted[field.number]
        if field.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE and inside:
            found += sum(parts_of(one, inside) for one in values)
    return found


def allowed(data: bytes, most: int) -> bool:
    try:
        check_parts(data, FRAME, most)
    except Refused:
        return False
    return True


@pytest.mark.parametrize("kind", [field.name for field in FRAME.fields])
def test_parts_are_counted_as_they_are(kind: str) -> None:
    for _what, made in extremes(base(FRAME, {"Frame.frame": kind}), many=50, large=100):
        count = parts_of(made, shape.places(FRAME))
        data = made.SerializeToString()
        assert allowed(data, count)
        assert count == 0 or not allowed(data, count - 1)


def _field(number: int, data: bytes) -> bytes:
    length, size = b"", len(data)
    while size >= 0x80:
        length += bytes([size & 0x7F | 0x80])
        size >>= 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + data


EMPTY = 1_000_000
FLOODS = {
    "heads": _field(4, b"\x0a\x00" * EMPTY),
    "folded heads": _field(4, b"\x1a\x00" * EMPTY),
    "records": _field(6, b"\x22\x00" * EMPTY),
    "marks": _field(8, b"\x0a\x00" * EMPTY),
    "authors of a mark": _field(8, _field(1, b"\x1a\x00" * EMPTY)),
    "grants": _field(3, b"\x0a\x00" * EMPTY),
    "accepted of a removal": _field(3, _field(2, b"\x1a\x00" * EMPTY)),
    "kept grants of a removal": _field(3, _field(2, b"\x22\x00" * EMPTY)),
    "hashes": _field(14, b"\x12\x00" * EMPTY),
    "grants of a hello": _field(1, _field(4, b"\x0a\x00" * EMPTY)),
    "hellos": _field(1, b"") * EMPTY,
}


@pytest.mark.parametrize("what", FLOODS)
def test_a_flood_of_empty_parts_is_refused_before_it_is_parsed(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Never:
        DESCRIPTOR = FRAME

        def ParseFromString(self, _data: bytes) -> None:
            raise AssertionError("parsed")

    monkeypatch.setattr(frames.pb, "Frame", Never)
    with pytest.raises(ProtocolViolation, match="more than"):
        frames.parse(FLOODS[what])


def test_a_flood_of_fields_that_are_skipped_is_refused_before_it_is_parsed() -> None:
    for plain in (b"\x08\x01", b"\x0a\x00", b"\xf8\x7f\x01"):
        for data in (plain * EMPTY, _field(1, plain * EMPTY), _field(6, plain * EMPTY)):
            with pytest.raises(ProtocolViolation, match=r"more fields|more than"):
                frames.parse(data)


def test_looking_at_a_frame_is_told_in_fields() -> None:
    skipped = pb.Frame(want=pb.Want(author=b"a" * 32, after=1)).SerializeToString() + b"\xf8\x7f\x01" * 10_000
    assert frames.parse_counted(skipped)[1] == 10_001
    head = base(pb.Head.DESCRIPTOR)
    have = pb.Frame(have=pb.Have(heads=[head] * 1000))  # type: ignore[list-item]
    assert frames.parse_counted(have.SerializeToString())[1] == 1001
    # A heap of records is not looked into.
    many = pb.Records(author=b"a" * 32, envelopes=[pb.Envelope(author=b"a" * 32, payload=b"p" * 100)] * 500)
    assert frames.parse_counted(pb.Frame(records=many).SerializeToString())[1] == 502


def test_what_is_honest_has_room() -> None:
    heads = pb.Frame(have=pb.Have(heads=[base(pb.Head.DESCRIPTOR)] * 4096, folded=[base(pb.Head.DESCRIPTOR)] * 4096))  # type: ignore[list-item]
    mark = pb.Mark(authors=[pb.AuthorSeq(author=b"a" * 32, seq=1, set_hash=b"h" * 32)] * 300)
    crowd = pb.Mark(authors=[pb.AuthorSeq(author=b"a" * 32, seq=1, set_hash=b"h" * 32)] * 230)
    for frame in (heads, pb.Frame(marks=pb.Marks(marks=[mark] * 100)), pb.Frame(marks=pb.Marks(marks=[crowd] * 230))):
        frames.parse(frame.SerializeToString())


@given(st.binary(max_size=300))
def test_whatever_can_be_parsed_can_be_counted(data: bytes) -> None:
    frame = pb.Frame()
    try:
        frame.ParseFromString(data)
    except DecodeError:
        allowed(data, 10)  # says yes or no
        return
    if b"\x0b" not in data and not any(byte & 7 in (3, 4) for byte in data):  # groups are not used
        assert allowed(data, 1000)
