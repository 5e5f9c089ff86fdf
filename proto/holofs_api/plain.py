# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages of `holofs.v1` as JSON data and back, for programs that speak JSON to a person's scripts or browser.

Every field is there, numbers are numbers, an enum value is a word like `writer`, and bytes are a path string with
surrogates for what is not UTF-8 (Python's os.fsencode gives the bytes back).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeVar

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

M = TypeVar("M", bound=Message)

_FLAG: Final = FieldDescriptor.CPPTYPE_BOOL
_NUMBERS: Final = (
    FieldDescriptor.CPPTYPE_INT32,
    FieldDescriptor.CPPTYPE_INT64,
    FieldDescriptor.CPPTYPE_UINT32,
    FieldDescriptor.CPPTYPE_UINT64,
)


class BadDocument(ValueError):
    """JSON data that is no such message. The text is a sentence."""


# ---- a message as JSON data
def plain(message: Message) -> dict[str, Any]:
    """A message as JSON data. What is not set is None, where a message can tell that."""
    return {field.name: _field(message, field) for field in message.DESCRIPTOR.fields}


def _field(message: Message, field: Any) -> Any:
    value = getattr(message, field.name)
    if field.is_repeated:
        return [_value(item, field) for item in value]
    if field.has_presence and not message.HasField(field.name):
        return None
    return _value(value, field)


def _value(value: Any, field: Any) -> Any:
    if field.message_type is not None:
        return plain(value)
    if field.enum_type is not None:
        return enum_word(field.enum_type.name, field.enum_type.values_by_number[value].name)
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value


def enum_word(enum: str, value: str) -> str:
    """A value of an enumeration as JSON data: `ROLE_WRITER` of `Role` is `writer`."""
    return value.removeprefix(f"{enum.upper()}_").lower()


# ---- JSON data as a message
def filled(message: type[M], data: Mapping[str, Any]) -> M:
    """The message that has these fields; others are unset. Raises BadDocument."""
    result = message()
    fields = result.DESCRIPTOR.fields_by_name
    for name, value in data.items():
        field = fields.get(name)
        if field is None or field.message_type is not None:
            raise BadDocument(f"There is nothing called {name[:60]!r} to be set.")
        try:
            if field.is_repeated:
                getattr(result, name).extend([_scalar(field, item) for item in _items(value)])
            else:
                setattr(result, name, _scalar(field, value))
        except (TypeError, ValueError) as error:
            raise BadDocument(f"The value of {name} makes no sense.") from error
    return result


def _items(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError
    return value


def _scalar(field: Any, value: Any) -> Any:
    """The value that a field takes. Raises TypeError, ValueError."""
    if field.enum_type is not None:
        words = {enum_word(field.enum_type.name, one.name): one.number for one in field.enum_type.values}
        if not isinstance(value, str) or value not in words:
            raise ValueError
        return words[value]
    if field.cpp_type == _FLAG or field.cpp_type in _NUMBERS:
        if isinstance(value, bool) is not (field.cpp_type == _FLAG) or not isinstance(value, int):
            raise TypeError
        return value
    if not isinstance(value, str):
        raise TypeError
    return value.encode("utf-8", "surrogateescape") if field.type == FieldDescriptor.TYPE_BYTES else value
