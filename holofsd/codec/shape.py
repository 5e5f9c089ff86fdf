# SPDX-License-Identifier: GPL-3.0-or-later
"""Counting of the parts of a message before it is parsed.

Two bytes make an empty message inside another one, and parsing makes an object of eighty bytes of it: a frame of four
megabytes would take half a second and 160 MB before anything could be said of its lists. So the places where messages
and lists can be are counted first, in the bytes, and counting ends where there are too many.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from holofsd.core.errors import Refused

_VARINT: Final = 0
_FIXED64: Final = 1
_BYTES: Final = 2
_FIXED32: Final = 5
_VARINT_MOST: Final = 10
_FIELDS_OF_A_PART: Final = 4
_FIELDS_BESIDE: Final = 64
"""Fields that are no parts, but stand beside and in them: skipping one takes as long as counting one."""

Places = Mapping[int, "Places | None"]
"""Field number -> the places inside that field; None: it counts, and nothing inside it does."""


@cache
def places(kind: Descriptor) -> Places:
    """Finds the fields of a message whose lists and messages are worth counting."""
    found: dict[int, Places | None] = {}
    for field in kind.fields:
        if field.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE:
            inside = places(field.message_type)
            if inside or field.is_repeated:
                found[field.number] = inside or None
        elif field.is_repeated and field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
            found[field.number] = None
    return found


def check_parts(data: bytes, kind: Descriptor, most: int) -> int:
    """The number of fields that had to be looked at for it. Raises Refused for a message of more than so many parts, of
    far more other fields than that, or whose fields cannot be told apart."""
    waiting: list[tuple[int, int, Places]] = [(0, len(data), places(kind))]
    parts, fields, most_fields = 0, 0, _FIELDS_OF_A_PART * most + _FIELDS_BESIDE
    while waiting:
        at, end, counted = waiting.pop()
        while at < end:
            fields += 1
            if fields > most_fields:
                raise Refused("a message has more fields than any that is known")
            tag, at = _number(data, at, end)
            form = tag & 7
            if form == _BYTES:
                length, at = _number(data, at, end)
                beyond = at + length
                number = tag >> 3
                if number in counted:
                    parts += 1
                    if parts > most:
                        raise Refused(f"a message has more than {most} parts")
                    inside = counted[number]
                    if inside:
                        waiting.append((at, min(beyond, end), inside))
                at = beyond
            elif form == _VARINT:
                _value, at = _number(data, at, end)
            elif form in (_FIXED64, _FIXED32):
                at += 8 if form == _FIXED64 else 4
            else:
                raise Refused("a message has a field of a kind that is not used")
            if at > end:
                raise Refused("a message ends inside a field")
    return fields


def _number(data: bytes, at: int, end: int) -> tuple[int, int]:
    """The number there, and where it ends; most have one byte."""
    if at < end and data[at] < 0x80:
        return data[at], at + 1
    return _varint(data, at, end)


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    for place in range(at, min(end, at + _VARINT_MOST)):
        byte = data[place]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place + 1
        shift += 7
    raise Refused("a message ends inside a number")
