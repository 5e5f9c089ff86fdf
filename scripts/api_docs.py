# SPDX-License-Identifier: GPL-3.0-or-later
"""The reference of the API in `docs/api.md`, made from the comments of the protos, and the stored shape of the API, to
which every later shape may only add (`api_shape`).

    python -m scripts.api_docs DESCRIPTORS [--check]

`DESCRIPTORS`: what `protoc --include_source_info --descriptor_set_out` wrote. `scripts/gen_protos` calls this.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    ServiceDescriptorProto,
)

from scripts import api_shape

ROOT: Final = Path(__file__).resolve().parents[1]
PACKAGE: Final = "holofs.v1"
PAGE: Final = "docs/api.md"
BEGIN: Final = "<!-- Written by scripts/gen_protos from the comments of the protos; do not edit below. -->\n"
# Numbers of fields in descriptor.proto, of which the paths of comments are made.
_MESSAGE, _ENUM, _SERVICE, _FIELD, _VALUE, _METHOD = 4, 5, 6, 2, 2, 2


class Comments:
    """Comments of one file, by the path of what they are about."""

    def __init__(self, file: FileDescriptorProto) -> None:
        self._found: dict[tuple[int, ...], str] = {}
        for location in file.source_code_info.location:
            text = "\n".join(part for part in (location.leading_comments, location.trailing_comments) if part)
            self._found[tuple(location.path)] = "\n".join(line.removeprefix(" ") for line in text.split("\n")).strip()

    def of(self, *path: int) -> str:
        return self._found.get(path, "")


def reference(files: list[FileDescriptorProto]) -> str:
    """The reference in Markdown: services with their methods, then messages, then enumerations."""
    services, messages, enums = [], [], []
    for file in files:
        comments = Comments(file)
        services += [_service(comments, n, service) for n, service in enumerate(file.service)]
        messages += [_message(comments, n, message) for n, message in enumerate(file.message_type)]
        enums += [_enum(comments, n, enum) for n, enum in enumerate(file.enum_type)]
    parts = [*services, "## Messages\n", *messages, "## Enumerations\n", *enums]
    return "\n".join(parts)


def _service(comments: Comments, index: int, service: ServiceDescriptorProto) -> str:
    lines = [f"## {PACKAGE}.{service.name}", "", _paragraphs(comments.of(_SERVICE, index)), ""]
    lines += ["| method | request | reply | what it does |", "|---|---|---|---|"]
    for number, method in enumerate(service.method):
        request = ("stream of " if method.client_streaming else "") + _link(method.input_type)
        reply = ("stream of " if method.server_streaming else "") + _link(method.output_type)
        text = cell(comments.of(_SERVICE, index, _METHOD, number))
        lines.append(f"| `{method.name}` | {request} | {reply} | {text} |")
    return "\n".join(lines) + "\n"


def _message(comments: Comments, index: int, message: DescriptorProto) -> str:
    lines = [f"### {message.name}", ""]
    if text := comments.of(_MESSAGE, index):
        lines += [_paragraphs(text), ""]
    if not message.field:
        return "\n".join([*lines, "It has no fields.", ""])
    lines += ["| number | field | type | meaning |", "|---|---|---|---|"]
    for number, field in enumerate(message.field):
        meaning = cell(comments.of(_MESSAGE, index, _FIELD, number))
        lines.append(f"| {field.number} | `{field.name}` | {_type(message, field)} | {meaning} |")
    return "\n".join(lines) + "\n"


def _enum(comments: Comments, index: int, enum: EnumDescriptorProto) -> str:
    lines = [f"### {enum.name}", ""]
    if text := comments.of(_ENUM, index):
        lines += [_paragraphs(text), ""]
    lines += ["| number | value | meaning |", "|---|---|---|"]
    for number, value in enumerate(enum.value):
        lines.append(f"| {value.number} | `{value.name}` | {cell(comments.of(_ENUM, index, _VALUE, number))} |")
    return "\n".join(lines) + "\n"


def _type(message: DescriptorProto, field: FieldDescriptorProto) -> str:
    name = _link(field.type_name) if field.type_name else f"`{api_shape.type_of(field)}`"
    if field.label == FieldDescriptorProto.LABEL_REPEATED:
        return f"list of {name}"
    if field.proto3_optional:
        return f"{name}, optional"
    if field.HasField("oneof_index"):
        return f"{name}, one of `{message.oneof_decl[field.oneof_index].name}`"
    return name


def _link(type_name: str) -> str:
    name = type_name.removeprefix(f".{PACKAGE}.")
    return f"[{name}](#{name.lower()})"


def _paragraphs(text: str) -> str:
    """Paragraphs and items of lists in one line each."""
    return "\n\n".join(re.sub(r"\s*\n(?!- )\s*", " ", part.strip()) for part in text.split("\n\n"))


def cell(text: str) -> str:
    """Text for a cell of a table."""
    return _code(" ".join(text.split()).replace("|", "\\|"))


def _code(text: str) -> str:
    """Words between double quotes are values."""
    return re.sub(r'"([^"\s]*)"', r"`\1`", text) if "`" not in text else text


def undocumented(files: list[FileDescriptorProto]) -> list[str]:
    """Services and methods without a comment."""
    found = []
    for file in files:
        comments = Comments(file)
        for index, service in enumerate(file.service):
            found += [] if comments.of(_SERVICE, index) else [service.name]
            for number, method in enumerate(service.method):
                if not comments.of(_SERVICE, index, _METHOD, number):
                    found.append(f"{service.name}.{method.name}")
    return found


def public_files(descriptors: FileDescriptorSet) -> list[FileDescriptorProto]:
    return [file for file in descriptors.file if file.package == PACKAGE]


def shape_text(root: Path, files: list[FileDescriptorProto]) -> str:
    """The shape to be stored. Raises SystemExit where the API would lose something of the one that is."""
    now = api_shape.shape(files)
    if lost := api_shape.losses(api_shape.read(root), now):
        told = "".join(f"  {what}\n" for what in lost)
        raise SystemExit(f"{PACKAGE} only grows, because programs of others rely on it. This would be lost:\n{told}")
    return api_shape.text(now)


def keep(whole: Mapping[str, str], pages: Mapping[str, tuple[str, str]], *, check: bool) -> int:
    """Writes files, and what stands in pages from a marker on; or, to check, says which are not current. The exit code.

    Paths are relative to the root of the tree.
    """
    texts = dict(whole)
    for name, (begin, text) in pages.items():
        texts[name] = f"{(ROOT / name).read_text('utf-8').partition(begin)[0]}{begin}\n{text}"
    stale = 0
    for name, text in texts.items():
        path = ROOT / name
        if path.exists() and path.read_text("utf-8") == text:
            continue
        if check:
            sys.stderr.write(f"{name} is not current: run scripts/gen_protos\n")
            stale = 1
        else:
            path.write_text(text, "utf-8")
    return stale


def main(arguments: list[str]) -> int:
    files = public_files(FileDescriptorSet.FromString(Path(arguments[0]).read_bytes()))
    if bare := undocumented(files):
        raise SystemExit(f"These need a comment in their proto: {', '.join(bare)}")
    shape = {api_shape.STORED: shape_text(ROOT, files)}
    return keep(shape, {PAGE: (BEGIN, reference(files))}, check="--check" in arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
