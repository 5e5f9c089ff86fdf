# SPDX-License-Identifier: GPL-3.0-or-later
"""The unambiguous bytes of a list of fields, for signing and hashing."""

from __future__ import annotations


def length_prefixed(domain: bytes, *fields: bytes) -> bytes:
    """The domain, then each field, each with its length in 4 bytes big endian in front."""
    return b"".join(len(part).to_bytes(4, "big") + part for part in (domain, *fields))


def number(value: int) -> bytes:
    return value.to_bytes(8, "big")
