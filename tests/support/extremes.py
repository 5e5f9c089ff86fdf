# SPDX-License-Identifier: GPL-3.0-or-later
"""The extremes of every field of every message between devices, made from the descriptors.

`bases` gives messages that are valid but for their signatures, one for each alternative of a `oneof`; `extremes` gives
for a message each field of it, and of the messages inside it, at each end of what its type can hold.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from holofs_peer.v1 import peer_pb2 as pb

KEY: Final = b"k" * 32
HOSTILE_TEXT: Final = "a\r\nb\x1b[2J\x07\u202egnp.exe\u2066\u200f\0\ufeff/../c"
"""Line ends, an escape sequence, marks that turn the direction of writing around, a NUL and a path."""
LARGE: Final = 1_000_000

_VALID: Final[dict[str, Any]] = {
    # by "Message.field" or "field"
    "Head.seq": 3,
    "Records.after": 0,
    "Envelope.key": b"device",
    "Envelope.payload": b"payload",
    "NodeRecord.id": b"n" * 16,
    "Place.parent": b"p" * 16,
    "Place.name": b"name",
    "Link.id": b"l" * 16,
    "LinkStamp.id": b"l" * 16,
    "FileBody.inline": b"data",
    "FileBody.pending": "staging",
    "Version.size": 4,
    "Version.symlink": b"target",
    "Invite.secret": b"s" * 16,
    "Redeem.secret": b"s" * 16,
    "Hello.instance": b"i" * 16,
    "Welcome.instance": b"i" * 16,
    "DroppedKey.key": b"n" * 16,
    "XattrRegister.name": b"user.a",
    "XattrRegister.absent": False,
    "NodeRecord.created_ns": 10**18,
    "format": 1,
    "protocol": 1,
    "relay_url": "https://relay.example",
    "addresses": "127.0.0.1:1",
    "signature": b"s" * 64,
    "author_signature": b"s" * 64,
    "device_signature": b"s" * 64,
}


def types() -> list[Descriptor]:
    """Descriptors of all messages that devices send each other, or sign."""
    return [*pb.DESCRIPTOR.message_types_by_name.values()]


def _valid(field: FieldDescriptor) -> Any:
    for name in (f"{_holder(field)}.{field.name}", field.name):
        if name in _VALID:
            return _VALID[name]
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return KEY if field.type == FieldDescriptor.TYPE_BYTES else "text"
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return True
    return 1


def _holder(field: FieldDescriptor) -> str:
    assert field.containing_type is not None, "no extension"
    return field.containing_type.name


def _kind_of(field: FieldDescriptor) -> Descriptor:
    assert field.message_type is not None, "a field that holds a message"
    return field.message_type


def base(kind: Descriptor, alternatives: dict[str, str] | None = None) -> Message:
    """A message with every field filled; of a `oneof`, the alternative named (by "Message.oneof"), else the first."""
    alternatives = alternatives or {}
    message = GetMessageClass(kind)()
    for field in kind.fields:
        union = field.containing_oneof
        if union is not None and field.name != alternatives.get(f"{kind.name}.{union.name}", union.fields[0].name):
            continue
        if field.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE:
            inner = base(_kind_of(field), alternatives)
            if field.is_repeated:
                getattr(message, field.name).append(inner)
            else:
                getattr(message, field.name).CopyFrom(inner)
        elif field.is_repeated:
            getattr(message, field.name).append(_valid(field))
        else:
            setattr(message, field.name, _valid(field))
    return message


def bases(kind: Descriptor) -> Iterator[Message]:
    """One for each alternative of each `oneof` in it or in what is inside it."""
    yield base(kind)
    for where, union in _unions(kind, set()):
        for field in union.fields[1:]:
            yield base(kind, {f"{where}.{union.name}": field.name, **_leading_to(field)})


def _leading_to(field: FieldDescriptor) -> dict[str, str]:
    """A body of a file is looked at in a version that is a file."""
    return {"Version.body": "file"} if _holder(field) == "FileBody" else {}


def _unions(kind: Descriptor, seen: set[str]) -> Iterator[tuple[str, Any]]:
    if kind.name in seen:
        return
    seen.add(kind.name)
    for union in kind.oneofs:
        yield kind.name, union
    for field in kind.fields:
        if field.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE:
            yield from _unions(_kind_of(field), seen)


_INTEGERS: Final = {
    FieldDescriptor.CPPTYPE_UINT64: (0, 1, 2**31, 2**53, 2**62 - 1, 2**62, 2**63 - 1, 2**63, 2**64 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), -(2**62), -1, 0, 2**62, 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 1, 2**16, 2**31, 2**32 - 1),
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), -1, 0, 2**31 - 1),
    FieldDescriptor.CPPTYPE_ENUM: (-(2**31), -1, 0, 1, 2, 3, 99, 2**31 - 1),
    FieldDescriptor.CPPTYPE_BOOL: (False, True),
}


def _ends(field: FieldDescriptor, large: int) -> list[Any]:
    if field.type == FieldDescriptor.TYPE_BYTES:
        return [b"", b"\0", b"\xff" * 31, bytes(32), b"\xff" * 33, b"\xff" * 64, b"/../" * 16, b"\xff" * large]
    if field.type == FieldDescriptor.TYPE_STRING:
        return ["", "\0", HOSTILE_TEXT, "\u202e" * 100, "\U0010ffff" * 100, "n" * large]
    return list(_INTEGERS[field.cpp_type])


def _farthest(field: FieldDescriptor, large: int) -> list[Any]:
    ends = _ends(field, large)
    if field.type == FieldDescriptor.TYPE_STRING:
        return [HOSTILE_TEXT, ends[-1]]
    return [ends[0], ends[-1]]


def extremes(
    message: Message, many: int = 5000, large: int = LARGE, thorough: bool = True
) -> Iterator[tuple[str, Message]]:
    """Copies of a message, each with one field at an extreme, and what that is. `many`: so often what is repeated.

    Where it is not `thorough`, the farthest of each kind alone: for real daemons, which each of them costs a session.
    """
    for what, path, field in _fields(message, (), message.DESCRIPTOR.name):
        for how, change in _changes(field, many, large, thorough):
            made = type(message)()
            made.CopyFrom(message)
            change(_at(made, path))
            yield f"{what} {how}", made


def _fields(message: Message, path: tuple[str, ...], what: str) -> Iterator[tuple[str, tuple[str, ...], Any]]:
    for field in message.DESCRIPTOR.fields:
        where = f"{what}.{field.name}"
        yield where, path, field
        if field.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE:
            value = getattr(message, field.name)
            if field.is_repeated and value:
                yield from _fields(value[0], (*path, field.name), where)
            elif not field.is_repeated and message.HasField(field.name):
                yield from _fields(value, (*path, field.name), where)


def _at(message: Message, path: tuple[str, ...]) -> Any:
    found: Any = message
    for name in path:
        found = getattr(found, name)
        if not isinstance(found, Message):
            found = found[0]
    return found


def _changes(field: FieldDescriptor, many: int, large: int, thorough: bool) -> Iterator[tuple[str, Any]]:
    name = field.name
    if thorough:
        yield "absent", lambda holder: holder.ClearField(name)
    if field.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE:
        if field.is_repeated:
            if thorough:
                yield "empty", lambda holder: getattr(holder, name).add()
            yield "twice", lambda holder: getattr(holder, name).extend(list(getattr(holder, name)))
            yield (
                f"{many} times",
                lambda holder: getattr(holder, name).extend(
                    [*(getattr(holder, name) or [base(_kind_of(field))])] * many
                ),
            )
        else:
            yield "empty", lambda holder: getattr(holder, name).Clear() or getattr(holder, name).SetInParent()
        return
    if field.is_repeated:
        yield "twice", lambda holder: getattr(holder, name).extend(list(getattr(holder, name)))
        yield f"{many} times", lambda holder: getattr(holder, name).extend([_valid(field)] * many)
    for value in _ends(field, large) if thorough else _farthest(field, large):
        shown = repr(value) if len(repr(value)) < 40 else f"{repr(value)[:30]}… ({len(value)})"
        if field.is_repeated:
            yield f"= [{shown}]", lambda holder, value=value: getattr(holder, name).append(value)
        else:
            yield f"= {shown}", lambda holder, value=value: setattr(holder, name, value)
