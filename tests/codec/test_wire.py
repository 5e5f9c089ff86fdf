# SPDX-License-Identifier: GPL-3.0-or-later
"""Signed values cross the wire unchanged; what is malformed is refused."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holofs_peer.v1 import peer_pb2 as pb
from holofsd.codec import wire
from holofsd.core.document import AuthorSeq, Certificate, Credentials, Envelope, Grant, Head, Mark, Removed, Role
from holofsd.core.errors import Refused
from holofsd.core.ids import AuthorId, DeviceId

A, D, I32, S = AuthorId(b"a" * 32), DeviceId(b"d" * 32), b"i" * 32, b"s" * 64
ENVELOPE = Envelope(A, 1, b"device", b"payload", S)
HEAD = Head(A, 5, 9, b"h" * 32, S)
MARK = Mark(D, 77, (AuthorSeq(A, 5, b"h" * 32),), S)
CREDENTIALS = Credentials(
    (Grant(D, Role.ADMIN, 1, I32, "Döner", S),),
    (Removed(D, 2, (AuthorSeq(A, 5, b"h" * 32),), (b"g" * 32,), I32, S),),
    (Certificate(A, D, S, S),),
)


def test_values_come_back_as_they_were() -> None:
    assert wire.from_envelope(wire.to_envelope(ENVELOPE)) == ENVELOPE
    assert wire.from_head(wire.to_head(HEAD)) == HEAD
    assert wire.decode_mark(wire.encode_mark(MARK)) == MARK
    assert wire.decode_credentials(wire.encode_credentials(CREDENTIALS)) == CREDENTIALS
    assert wire.decode_credentials(b"") == Credentials()


def grant(**fields: Any) -> pb.Grant:
    return _with(wire.to_grant(CREDENTIALS.grants[0]), fields)


def removed(**fields: Any) -> pb.Removed:
    return _with(wire.to_removed(CREDENTIALS.removals[0]), fields)


def _with(message: Any, fields: dict[str, Any]) -> Any:
    for name, value in fields.items():
        if isinstance(value, list):
            del getattr(message, name)[:]
            getattr(message, name).extend(value)
        else:
            setattr(message, name, value)
    return message


AUTHOR = pb.AuthorSeq(author=A, seq=1, set_hash=b"h" * 32)
MALFORMED: list[tuple[Callable[[Any], object], Any]] = [
    *((wire.from_envelope, _with(wire.to_envelope(ENVELOPE), {name: value})) for name, value in [
        ("author", b"x"), ("seq", 0), ("seq", 2**63), ("key", b""), ("key", b"k" * 65), ("signature", b""),
        ("payload", b"x" * ((1 << 20) + 1)),
    ]),
    *((wire.from_head, _with(wire.to_head(HEAD), {name: value})) for name, value in [
        ("author", b""), ("seq", 2**63), ("dots", 2**63), ("set_hash", b"x"), ("signature", b"x"),
    ]),
    *((wire.from_mark, _with(wire.to_mark(MARK), {name: value})) for name, value in [
        ("device", b""), ("at_ms", 2**63), ("signature", b""), ("authors", [AUTHOR, AUTHOR]),
        ("authors", [pb.AuthorSeq(author=b"x", seq=1, set_hash=b"h" * 32)]),
        ("authors", [pb.AuthorSeq(author=i.to_bytes(32, "big"), seq=1, set_hash=b"h" * 32) for i in range(4097)]),
    ]),
    *((wire.from_grant, grant(**{name: value})) for name, value in [
        ("device", b""), ("role", 0), ("role", 4), ("generation", 0), ("issuer", b""), ("signature", b""),
        ("device_name", "x" * 2000),
    ]),
    *((wire.from_removed, removed(**{name: value})) for name, value in [
        ("device", b""), ("generation", 0), ("issuer", b""), ("signature", b""), ("kept_grants", [b"x"]),
        ("accepted", [AUTHOR, AUTHOR]), ("kept_grants", [b"x" * 32] * 4097),
    ]),
    (wire.from_certificate, pb.Certificate()),
    (wire.from_credentials, pb.Credentials(grants=[grant()] * 4097)),
]  # fmt: skip


@pytest.mark.parametrize(("read", "message"), MALFORMED)
def test_what_is_malformed_is_refused(read: Callable[[Any], object], message: Any) -> None:
    with pytest.raises(Refused):
        read(message)


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_refused_or_mean_something(data: bytes) -> None:
    for decode in (wire.decode_mark, wire.decode_credentials):
        with contextlib.suppress(Refused):
            decode(data)


@given(st.integers(0, 400), st.integers(0, 255))
def test_altered_credentials_are_refused_or_read(at: int, value: int) -> None:
    data = bytearray(wire.encode_credentials(CREDENTIALS))
    data[at % len(data)] = value
    with contextlib.suppress(Refused):
        wire.decode_credentials(bytes(data))
