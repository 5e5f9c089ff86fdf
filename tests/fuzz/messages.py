# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages that nobody would send: any protobuf message with any values, made from its descriptor, and bytes near it.

Values come from pools where that makes them mean something (a key that exists, an inode number of the tree), and from
the edges of their types else, so that what is generated gets past the first check often enough to reach the second.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from hypothesis import strategies as st

Pools = Mapping[str, Sequence[Any]]
"""Field name (`author`, or `Want.author` for one message) -> values that it shall often have."""

_DEEP: Final = 4
_NUMBERS: Final[dict[int, tuple[int, int]]] = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}
_BYTES = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([b"", b".", b"..", b"a/b"]),
    st.sampled_from([16, 32, 255, 256, 4097]).map(bytes),
)
_TEXT = st.one_of(
    st.text(max_size=20),
    st.sampled_from(["", "\0", "a/b", "..", "\u202e\r\n\x1b[31m"]),
    st.sampled_from([255, 5000]).map(lambda length: "x" * length),
)


def messages(kind: type[Message], pools: Pools | None = None, most: int = 3) -> st.SearchStrategy[Any]:
    """Any message of that kind. Lists have up to `most` elements."""
    return _message(kind, pools or {}, most, 0)


def _message(kind: type[Message], pools: Pools, most: int, depth: int) -> st.SearchStrategy[Any]:
    fields = {field.name: _field(field, pools, most, depth) for field in kind.DESCRIPTOR.fields}
    usable = {name: strategy for name, strategy in fields.items() if strategy is not None}
    # Of a oneof the last one set wins, so most of them are left out, in a random order.
    return st.fixed_dictionaries({}, optional=usable).map(lambda values: kind(**_of_one_each(kind.DESCRIPTOR, values)))


def _of_one_each(descriptor: Descriptor, values: dict[str, Any]) -> dict[str, Any]:
    """Values with at most one field of each oneof: which one depends on the values."""
    for group in descriptor.oneofs:
        present = [field.name for field in group.fields if field.name in values]
        for name in present:
            if name != present[len(repr(values)) % len(present)]:
                del values[name]
    return values


def _field(field: FieldDescriptor, pools: Pools, most: int, depth: int) -> st.SearchStrategy[Any] | None:
    one = _value(field, pools, most, depth)
    if one is None or not field.is_repeated:
        return one
    return st.lists(one, max_size=most)


def _value(field: FieldDescriptor, pools: Pools, most: int, depth: int) -> st.SearchStrategy[Any] | None:
    if field.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE:
        if depth >= _DEEP or field.message_type.GetOptions().map_entry:
            return None
        return _message(field.message_type._concrete_class, pools, most, depth + 1)
    plain = _plain(field)
    assert field.containing_type is not None
    known = pools.get(f"{field.containing_type.name}.{field.name}", pools.get(field.name))
    # Three times the known values: a message with five fields shall still be right in all of them now and then.
    return st.one_of(st.sampled_from(known), st.sampled_from(known), st.sampled_from(known), plain) if known else plain


def _plain(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return st.booleans()
    if field.cpp_type == FieldDescriptor.CPPTYPE_ENUM:
        assert field.enum_type is not None
        return st.sampled_from([*(value.number for value in field.enum_type.values), 99, -1])
    if field.type == FieldDescriptor.TYPE_STRING:
        return _TEXT
    if field.type == FieldDescriptor.TYPE_BYTES:
        return _BYTES
    lowest, highest = _NUMBERS[field.cpp_type]
    edges = [lowest, highest, 0, 1, 2, highest // 2, min(2**31, highest), min(2**53, highest)]
    return st.one_of(st.sampled_from(edges), st.integers(lowest, highest))


@st.composite
def altered(draw: Callable[..., Any], examples: Sequence[Message], pools: Pools | None = None) -> Any:
    """One of these messages after somebody put other values into a few of its fields, left some out, or doubled one."""
    found = type(chosen := draw(st.sampled_from(examples)))()
    found.CopyFrom(chosen)
    for _ in range(draw(st.integers(0, 3))):
        places = list(_places(found))
        message, field = places[draw(st.integers(0, len(places) - 1))]
        how = draw(st.sampled_from(["other", "other", "none", "twice"]))
        if how == "none":
            message.ClearField(field.name)
        elif field.is_repeated:
            values = getattr(message, field.name)
            values.extend(list(values)[:1] if how == "twice" else draw(_certain(_field(field, pools or {}, 2, 1))))
        elif field.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE:
            getattr(message, field.name).CopyFrom(draw(_certain(_value(field, pools or {}, 2, 1))))
        else:
            setattr(message, field.name, draw(_certain(_value(field, pools or {}, 2, 1))))
    return found


def _certain(strategy: st.SearchStrategy[Any] | None) -> st.SearchStrategy[Any]:
    assert strategy is not None, "only what is nested too deep has none"
    return strategy


def _places(message: Message) -> Iterator[tuple[Any, FieldDescriptor]]:
    """Every field of the message and of those inside it."""
    for field in message.DESCRIPTOR.fields:
        if not (field.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE and field.message_type.GetOptions().map_entry):
            yield message, field
    for field, value in message.ListFields():
        if field.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE:
            for inner in value if field.is_repeated else [value]:
                yield from _places(inner)


def as_bytes(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[bytes]:
    return strategy.map(lambda message: bytes(message.SerializeToString()))


@st.composite
def damaged(draw: Callable[..., Any], data: st.SearchStrategy[bytes]) -> bytes:
    """Bytes of a message after somebody changed, cut, doubled or inserted some."""
    found = bytearray(draw(data))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, max(len(found) - 1, 0)))
        how = draw(st.sampled_from(["change", "cut", "insert", "double"]))
        if how == "change" and found:
            found[at] = draw(st.integers(0, 255))
        elif how == "cut":
            del found[at : at + draw(st.integers(1, 20))]
        elif how == "insert":
            found[at:at] = draw(st.binary(min_size=1, max_size=12))
        else:
            found += found[at : at + 200]
    return bytes(found)
