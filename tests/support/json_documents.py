# SPDX-License-Identifier: GPL-3.0-or-later
"""Validation of what `holofsctl` prints with `--json` against its schemas, and stricter: a key that no schema has is
an error here, though for a user it is only a newer HoloFS."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator

from support.sources import ROOT

GROUPS = ("config", "device", "trash")
"""Commands that have commands of their own."""
VARIANTS = {"share": ("--list", "--revoke"), "install": ("--dry-run",), "resolve": ("--all",)}
"""Options that make a command print something else."""
BY_LINE = ("log", "ping", "events")
"""Commands that print a document for each line."""
TEXT_ONLY = ("help", "completion")


@cache
def schemas() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / "holofsctl" / "schema.json").read_text())
    return found


def name_of(words: Sequence[str]) -> str:
    """Name of the schema for a command line that begins with the command."""
    command, *others = words
    parts = [command]
    if command in GROUPS:
        parts.append(others[0])
    elif command == "members":
        # A volume may be called like that.
        parts += [word for word in others[:2] if word in ("role", "remove") and len(others) > 2][:1]
    else:
        parts += [option.removeprefix("--") for option in VARIANTS.get(command, ()) if option in others][:1]
    return "-".join(parts)


def complaints(name: str, document: Any) -> list[str]:
    """Differences between a document and its schema, each in one line."""
    return [f"{name}: {error.json_path}: {error.message}" for error in _validator(name).iter_errors(document)]


def documents(words: Sequence[str], out: str) -> list[Any]:
    """Parse what a command printed: one document, or one for each line."""
    return [json.loads(line) for line in out.splitlines()] if words[0] in BY_LINE else [json.loads(out)]


def check(words: Sequence[str], out: str, err: str) -> None:
    """Compares what a command printed with its schema. Raises AssertionError."""
    words = [word for word in words if word != "--json"]
    if words[0] in TEXT_ONLY:
        return
    name = name_of(words)
    found = [line for document in documents(words, out) for line in complaints(name, document)] if out else []
    last = err.splitlines()[-1] if err else ""
    if last.startswith("{"):
        found += complaints("error", json.loads(last))
    assert not found, "\n".join(found)


@cache
def _validator(name: str) -> Any:
    return Draft202012Validator({"$ref": f"#/$defs/{name}", "$defs": _closed(schemas()["$defs"])})


def _closed(schema: Any) -> Any:
    """A schema without room for keys that it does not name, unless it says that there may be any."""
    if isinstance(schema, list):
        return [_closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: _closed(value) for key, value in schema.items()}
    return {"additionalProperties": False, **found} if schema.get("type") == "object" else found
