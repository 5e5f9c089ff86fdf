# SPDX-License-Identifier: GPL-3.0-or-later
"""The shape of `holofs.v1`: services, methods, messages, fields and enumerations by name, number and type.

A shape is plain data, stored as JSON beside the protos. `losses` says what a later shape has lost: a program that was
written for the earlier one would not understand it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    MethodDescriptorProto,
)

STORED: Final = "proto/holofs_api/v1/shape.json"
Shape = dict[str, dict[str, str]]
"""Parts of each service, message and enumeration: for each number or method, one line that describes it."""


def shape(files: list[FileDescriptorProto]) -> Shape:
    found: Shape = {}
    for file in files:
        for service in file.service:
            methods = {method.name: _method(method) for method in service.method}
            found[f"service {file.package}.{service.name}"] = methods
        for message in file.message_type:
            found |= _messages(file.package, message)
        for enum in file.enum_type:
            found |= _enum(file.package, enum)
    return found


def _method(method: MethodDescriptorProto) -> str:
    asks = ("stream " if method.client_streaming else "") + method.input_type.removeprefix(".")
    answers = ("stream " if method.server_streaming else "") + method.output_type.removeprefix(".")
    return f"({asks}) returns ({answers})"


def _messages(scope: str, message: DescriptorProto) -> Shape:
    name = f"{scope}.{message.name}"
    fields = {str(field.number): _field(message, field) for field in message.field}
    fields |= {str(number): "reserved" for span in message.reserved_range for number in range(span.start, span.end)}
    found = {f"message {name}": fields}
    for inner in message.nested_type:
        found |= _messages(name, inner)
    for enum in message.enum_type:
        found |= _enum(name, enum)
    return found


def _field(message: DescriptorProto, field: FieldDescriptorProto) -> str:
    how = ""
    if field.label == FieldDescriptorProto.LABEL_REPEATED:
        how = "repeated "
    elif field.proto3_optional:
        how = "optional "
    elif field.HasField("oneof_index"):
        how = f"oneof {message.oneof_decl[field.oneof_index].name} "
    return f"{how}{field.type_name.removeprefix('.') or type_of(field)} {field.name}"


def type_of(field: FieldDescriptorProto) -> str:
    """Name of a scalar type, as it is written in a proto."""
    return FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()


def _enum(scope: str, enum: EnumDescriptorProto) -> Shape:
    return {f"enum {scope}.{enum.name}": {str(value.number): value.name for value in enum.value}}


def losses(before: Shape, now: Shape) -> list[str]:
    """Parts that are gone or mean something else, each in one line; none where `now` only has more."""
    return [*_losses(before, now)]


def _losses(before: Shape, now: Shape) -> Iterator[str]:
    for name, parts in before.items():
        if name not in now:
            yield f"{name} is gone."
            continue
        for key, was in parts.items():
            present = now[name].get(key)
            if present is None:
                yield f"{name}: {key} ({was}) is gone."
            elif present != was:
                yield f"{name}: {key} was `{was}` and is `{present}`."


def read(root: Path) -> Shape:
    """The stored shape; nothing where there is none."""
    path = root / STORED
    stored: Any = json.loads(path.read_text("utf-8")) if path.exists() else {}
    return {str(name): dict(parts) for name, parts in stored.items()}


def text(found: Shape) -> str:
    return json.dumps(found, indent=1) + "\n"
