# SPDX-License-Identifier: GPL-3.0-or-later
"""Values of `device_api` to messages of `holofs.v1`, by field name; a value without its field is a defect, not data."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

from google.protobuf.message import Message

from holofsd.core.errors import BadArgument

M = TypeVar("M", bound=Message)


def to_message(value: object, message: type[M]) -> M:
    """The message with the fields of `value`, nested values and tuples of values too. None leaves a field unset."""
    result = message()
    assert is_dataclass(value)
    for field in fields(value):
        _set(result, field.name, getattr(value, field.name))
    return result


def _set(result: Message, name: str, value: Any) -> None:
    if value is None:
        return
    if isinstance(value, tuple):
        repeated = getattr(result, name)
        for item in value:
            if is_dataclass(item):
                _fill(repeated.add(), item)
            else:
                repeated.append(item)
    elif is_dataclass(value):
        _fill(getattr(result, name), value)
        getattr(result, name).SetInParent()
    else:
        setattr(result, name, value)


def _fill(message: Message, value: Any) -> None:
    for field in fields(value):
        _set(message, field.name, getattr(value, field.name))


def needed(value: str, what: str) -> str:
    """The value. Raises BadArgument where it is empty."""
    if not value:
        raise BadArgument(f"{what} is missing.")
    return value
