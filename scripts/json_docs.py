# SPDX-License-Identifier: GPL-3.0-or-later
"""The schemas of what `holofsctl` prints with `--json`, and the page about them.

    python -m scripts.json_docs DESCRIPTORS [--check]

Both are made from `scripts.json_documents` and from the protos with their comments. `DESCRIPTORS`: what
`protoc --include_source_info --descriptor_set_out` wrote. `scripts/gen_protos` calls this.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)

from holofs_api.plain import enum_word
from holofsctl.output import SCHEMA
from scripts import api_shape
from scripts.api_docs import ROOT, Comments, cell, keep, public_files
from scripts.json_documents import DOCUMENTS, ERROR, Document, Fields, Message, Schema, number

STORED: Final = "holofsctl/schema.json"
PAGE: Final = "docs/json.md"
BEGIN: Final = "<!-- Written by scripts/gen_protos; do not edit below. -->\n"
DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"
ALWAYS_SET: Final = {"VolumeStatus.volume", "VolumeStatus.history", "StatusReply.space", "Conflict.shown"}
"""Fields that are messages and that the daemon always fills. Others, and those that are `optional`, can be null."""
_MESSAGE, _ENUM, _FIELD = 4, 5, 2  # as in descriptor.proto
_SCALARS: Final = {"bool": "boolean", "string": "string", "bytes": "string"}


class Protos:
    """Messages and enumerations as schemas of what `holofs_api.plain` makes of them."""

    def __init__(self, files: list[FileDescriptorProto]) -> None:
        self._messages: dict[str, tuple[Comments, int, DescriptorProto]] = {}
        self._enums: dict[str, EnumDescriptorProto] = {}
        for file in files:
            comments = Comments(file)
            for index, message in enumerate(file.message_type):
                self._messages[f".{file.package}.{message.name}"] = comments, index, message
            self._enums |= {f".{file.package}.{enum.name}": enum for enum in file.enum_type}
        self._package = f".{files[0].package}."

    def properties(self, name: str) -> dict[str, Schema]:
        comments, index, message = self._messages[self._package + name]
        found = {}
        for place, field in enumerate(message.field):
            meaning = " ".join(comments.of(_MESSAGE, index, _FIELD, place).split())
            found[field.name] = _described(self._field(name, field), meaning)
        return found

    def definition(self, name: str) -> Schema:
        comments, index, _ = self._messages[self._package + name]
        properties = self.properties(name)
        told = {"type": "object", "properties": properties, "required": [*properties]}
        return _described(told, " ".join(comments.of(_MESSAGE, index).split()))

    def _field(self, message: str, field: FieldDescriptorProto) -> Schema:
        is_list = field.label == FieldDescriptorProto.LABEL_REPEATED
        value = self._value(field)
        if is_list:
            return {"type": "array", "items": value}
        is_message = field.type == FieldDescriptorProto.TYPE_MESSAGE
        if field.proto3_optional or (is_message and f"{message}.{field.name}" not in ALWAYS_SET):
            return {"anyOf": [value, {"type": "null"}]}
        return value

    def _value(self, field: FieldDescriptorProto) -> Schema:
        if field.type == FieldDescriptorProto.TYPE_MESSAGE:
            return {"$ref": f"#/$defs/{field.type_name.removeprefix(self._package)}"}
        if field.type == FieldDescriptorProto.TYPE_ENUM:
            enum = self._enums[field.type_name]
            return {"enum": [enum_word(enum.name, value.name) for value in enum.value]}
        name = FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()
        return {"type": _SCALARS.get(name, "integer"), **({"minimum": 0} if name.startswith("uint") else {})}


def _described(schema: Schema, meaning: str) -> Schema:
    return {**schema, "description": meaning} if meaning else schema


# ---- the schemas
def schemas(protos: Protos) -> Schema:
    """All of them in one: `$defs` has each document by its name, and each message that one of them contains."""
    documents = {document.name: document_schema(protos, document) for document in (*DOCUMENTS, ERROR)}
    messages: dict[str, Schema] = {}
    todo = [*_references(documents)]
    while todo:
        name = todo.pop()
        if name not in messages:
            messages[name] = protos.definition(name)
            todo += _references(messages[name])
    about = "What holofsctl prints with --json: `$defs` has a schema for each command. See docs/json.md."
    return {
        "$schema": DRAFT,
        "title": "holofsctl --json",
        "description": about,
        "$defs": {**documents, **{name: messages[name] for name in sorted(messages)}},
    }


def _references(schema: object) -> Iterator[str]:
    if isinstance(schema, dict):
        for key, value in schema.items():
            if key == "$ref":
                yield value.rpartition("/")[2]
            else:
                yield from _references(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _references(value)


def properties_of(protos: Protos, document: Document) -> dict[str, Schema]:
    content = document.content
    version = {**number("version of this format"), "const": SCHEMA}
    told = (
        dict(content.before) | protos.properties(content.name) if isinstance(content, Message) else content.properties
    )
    return {"schema": version, **told}


def document_schema(protos: Protos, document: Document) -> Schema:
    properties = properties_of(protos, document)
    required = [name for name in properties if name not in document.optional]
    one: Schema = {"type": "object", "properties": properties, "required": required}
    if isinstance(document.content, Fields) and document.content.open:
        one["additionalProperties"] = True
    title, about = f"holofsctl {document.command} --json", document.text
    if document is ERROR:
        title = "an error of holofsctl --json"
    return {"title": title, "description": about, **({"type": "array", "items": one} if document.many else one)}


def shape(all_of_them: Schema) -> api_shape.Shape:
    """Types of all keys, by object: scripts rely on them. For `api_shape.losses`."""
    found: api_shape.Shape = {}
    for name, schema in all_of_them.get("$defs", {}).items():
        _note(found, name, schema)
    return found


def _note(found: api_shape.Shape, name: str, schema: Schema) -> None:
    if schema.get("type") == "array":
        name, schema = f"{name}[]", schema["items"]
    for inner in schema.get("anyOf", ()):
        _note(found, name, inner)
    for key, part in schema.get("properties", {}).items():
        found.setdefault(name, {})[key] = "one of some words" if "enum" in part else _kind(part)
        _note(found, f"{name}.{key}", part)


def schema_text(stored: Path, all_of_them: Schema) -> str:
    """The schemas to be stored. Raises SystemExit where a key of the stored ones is lost under the same version."""
    before = shape(json.loads(stored.read_text("utf-8"))) if stored.exists() else {}
    is_same = all(parts.get("schema", _kind({"const": SCHEMA})) == f"`{SCHEMA}`" for parts in before.values())
    if is_same and (lost := api_shape.losses(before, shape(all_of_them))):
        told = "".join(f"  {what}\n" for what in lost)
        raise SystemExit(
            f"Scripts rely on what --json prints. Raise holofsctl.output.SCHEMA, for this is lost:\n{told}"
        )
    return json.dumps(all_of_them, indent=1, ensure_ascii=False) + "\n"


# ---- the page
def page(protos: Protos) -> str:
    all_of_them = schemas(protos)
    parts = []
    for document in (*DOCUMENTS, ERROR):
        heading = "An error" if document is ERROR else f"`{document.command}`"
        shape = "A list of objects:" if document.many else "An object:"
        table = _table(properties_of(protos, document), document.optional)
        parts.append(f"### {heading}\n\n{document.text} Schema: `{document.name}`. {shape}\n\n{table}")
    parts.append("## Objects inside of them\n")
    documents = {document.name for document in (*DOCUMENTS, ERROR)}
    for name, schema in all_of_them["$defs"].items():
        if name not in documents:
            about = f"{schema['description']}\n\n" if "description" in schema else ""
            parts.append(f"### {name}\n\n{about}{_table(schema['properties'])}")
    return "\n".join(parts)


def _table(properties: Mapping[str, Schema], optional: tuple[str, ...] = ()) -> str:
    lines = ["| key | type | meaning |", "|---|---|---|"]
    for name, schema in properties.items():
        where = ", not always there" if name in optional else ""
        lines.append(f"| `{name}` | {_kind(schema)}{where} | {cell(schema.get('description', ''))} |")
        lines += _inner(name, schema)
    return "\n".join(lines) + "\n"


def _inner(name: str, schema: Schema) -> list[str]:
    """Lines for the keys of an object that has no name of its own."""
    found: Any = schema.get("items", schema)
    found = next((one for one in found.get("anyOf", ()) if "properties" in one), found)
    inner = found.get("properties", {})
    return [
        f"| `{name}`: `{key}` | {_kind(part)} | {cell(part.get('description', ''))} |" for key, part in inner.items()
    ]


def _kind(schema: Schema) -> str:
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(_kind(one) for one in schema["anyOf"])
    if schema["type"] == "array":
        return f"list of {_kind(schema['items'])}"
    return str(schema["type"])


def main(arguments: list[str]) -> int:
    protos = Protos(public_files(FileDescriptorSet.FromString(Path(arguments[0]).read_bytes())))
    return keep(
        {STORED: schema_text(ROOT / STORED, schemas(protos))},
        {PAGE: (BEGIN, page(protos))},
        check="--check" in arguments,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
