# SPDX-License-Identifier: GPL-3.0-or-later
"""A signature holds for exactly what was signed, in the volume it was signed for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holofsd.codec import signing
from holofsd.core.document import AuthorSeq, Certificate, Envelope, Grant, Head, Mark, Removed, Role
from holofsd.core.errors import Refused
from holofsd.core.ids import AuthorId, DeviceId, VolumeId
from holofsd.core.message import length_prefixed

KEY = signing.SigningKey(b"k" * 32)
OTHER = signing.SigningKey(b"o" * 32)
VOLUME = VolumeId(b"V" * 32)
HEADS = (AuthorSeq(AuthorId(b"a" * 32), 4, b"h" * 32), AuthorSeq(AuthorId(b"b" * 32), 5, b"i" * 32))

SIGNED: dict[str, tuple[Any, Callable[[VolumeId, Any], bool]]] = {
    "envelope": (signing.sign_envelope(KEY, VOLUME, 7, b"n" * 16, b"payload"), signing.verify_envelope),
    "head": (signing.sign_head(KEY, VOLUME, 7, 9, b"h" * 32), signing.verify_head),
    "mark": (signing.sign_mark(KEY, VOLUME, 5, HEADS), signing.verify_mark),
    "certificate": (signing.make_certificate(KEY, OTHER, VOLUME), signing.verify_certificate),
    "grant": (
        signing.sign_grant(KEY, VOLUME, DeviceId(b"d" * 32), Role.WRITER, 1, "laptop"),
        signing.verify_grant,
    ),
    "removed": (
        signing.sign_removed(KEY, VOLUME, DeviceId(b"d" * 32), 1, HEADS, [b"g" * 32, b"f" * 32]),
        signing.verify_removed,
    ),
}


def other_values(value: Any) -> list[Any]:
    if isinstance(value, Role):
        return [Role.ADMIN]
    if isinstance(value, int):
        return [value + 1]
    if isinstance(value, str):
        return [value + "x"]
    if isinstance(value, bytes):
        return [value[:-1] + bytes([value[-1] ^ 1]), value[:-1], value + b"x", b""]
    return [value[:-1], (*value, value[0]), value[::-1]]


@pytest.mark.parametrize("name", SIGNED)
def test_what_was_signed_verifies_and_no_field_can_be_changed(name: str) -> None:
    value, verify = SIGNED[name]
    assert verify(VOLUME, value)
    for field in fields(value):
        for other in other_values(getattr(value, field.name)):
            assert not verify(VOLUME, replace(value, **{field.name: other})), field.name


@pytest.mark.parametrize("name", SIGNED)
def test_a_signature_does_not_hold_in_another_volume(name: str) -> None:
    value, verify = SIGNED[name]
    assert not verify(VolumeId(b"W" * 32), value)


def test_a_certificate_needs_both_keys() -> None:
    good = signing.make_certificate(KEY, OTHER, VOLUME)
    forged = Certificate(good.author, DeviceId(KEY.public), good.author_signature, good.author_signature)
    assert not signing.verify_certificate(VOLUME, forged)


def test_batches_say_which_envelope_is_bad() -> None:
    good = signing.sign_envelope(KEY, VOLUME, 1, b"k", b"p")
    bad = Envelope(AuthorId(OTHER.public), good.seq, good.key, good.payload, good.signature)
    assert signing.verify_envelopes(VOLUME, [good, bad, good]) == [True, False, True]


@given(st.binary(max_size=70), st.binary(max_size=40), st.binary(max_size=80))
def test_verifying_garbage_is_false_and_nothing_else(public: bytes, message: bytes, signature: bytes) -> None:
    assert not signing.verify(public, message, signature)


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=64, max_size=64))
def test_no_key_of_the_right_length_makes_verifying_raise(public: bytes, signature: bytes) -> None:
    assert not signing.verify(public, b"message", signature)


@given(st.lists(st.binary(max_size=6)), st.lists(st.binary(max_size=6)))
def test_different_fields_never_give_the_same_message(a: list[bytes], b: list[bytes]) -> None:
    assert (length_prefixed(b"d", *a) == length_prefixed(b"d", *b)) == (a == b)


def test_a_key_does_not_show_its_secret() -> None:
    assert KEY.seed.hex() not in repr(KEY)
    assert repr(b"k" * 32) not in repr(KEY)
    assert signing.SigningKey(KEY.seed).public == KEY.public
    assert signing.generate().public != signing.generate().public


def test_a_seed_has_32_bytes() -> None:
    with pytest.raises(Refused):
        signing.SigningKey(b"short")


def test_signed_values_name_the_signer() -> None:
    head, mark, grant, removed = (SIGNED[n][0] for n in ("head", "mark", "grant", "removed"))
    assert isinstance(head, Head)
    assert isinstance(mark, Mark)
    assert isinstance(grant, Grant)
    assert isinstance(removed, Removed)
    assert head.author == mark.device == grant.issuer == removed.issuer == KEY.public
