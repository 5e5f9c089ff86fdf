# SPDX-License-Identifier: GPL-3.0-or-later
"""Small checks that every decoder uses; all raise Refused."""

from __future__ import annotations

from collections.abc import Sized
from typing import Final

from google.protobuf.message import DecodeError, Message

from holofsd.core.errors import Refused

KEY: Final = 32
SIGNATURE: Final = 64
MAX_NUMBER: Final = 2**62
"""Counters, sequence numbers and sizes stay below this, so that they fit SQLite and can still grow."""

MAX_CLOCK_MS: Final = 253_402_300_799_999
"""The end of the year 9999 in ms: the last time that every program can show."""


def parse(message: Message, data: bytes, limit: int, what: str) -> None:
    """Fill `message` from bytes."""
    if len(data) > limit:
        raise Refused(f"the {what} has {len(data)} bytes; at most {limit} are accepted")
    try:
        message.ParseFromString(data)
    except (DecodeError, ValueError, RecursionError) as error:
        raise Refused(f"the {what} cannot be read") from error


def sized(value: bytes, length: int, what: str) -> bytes:
    if len(value) != length:
        raise Refused(f"a {what} has {length} bytes, not {len(value)}")
    return value


def at_most(values: Sized, limit: int, what: str) -> None:
    if len(values) > limit:
        raise Refused(f"at most {limit} {what} are accepted, not {len(values)}")


def number(value: int, what: str, least: int = 0) -> int:
    if not least <= value < MAX_NUMBER:
        raise Refused(f"the {what} is out of range")
    return value


def clock(value: int) -> int:
    """Another device's clock in ms, as near as it can be shown. A wrong clock is told of, not refused."""
    return min(max(value, 0), MAX_CLOCK_MS)
