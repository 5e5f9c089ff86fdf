# SPDX-License-Identifier: GPL-3.0-or-later
"""Schemas of what `--json` prints: one for every command, valid, and such that scripts can go on relying on them."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from holofsctl.output import SCHEMA
from holofsctl.parser import build
from scripts import json_docs
from scripts.json_documents import DOCUMENTS
from support import json_documents
from support.json_documents import TEXT_ONLY, complaints, name_of, schemas
from support.sources import ROOT


def commands(parser: argparse.ArgumentParser, name: str = "") -> Iterator[str]:
    """Commands that can be given, with those of commands: `trash list`."""
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    for group in groups:
        for inner, found in group.choices.items():
            yield from commands(found, f"{name} {inner}".strip())
    if not groups:
        yield name


def test_every_command_has_a_schema_and_every_schema_a_command() -> None:
    known = {*commands(build())}
    without_options = {document.command.partition(" --")[0] for document in DOCUMENTS}
    assert known - without_options == {*TEXT_ONLY}
    # `members role` and `members remove` are words of one command.
    assert {command.removesuffix(" role").removesuffix(" remove") for command in without_options} <= known


def test_every_schema_is_one_and_asks_for_its_version() -> None:
    for name, schema in schemas()["$defs"].items():
        Draft202012Validator.check_schema(schema)
        one = schema["items"] if schema.get("type") == "array" else schema
        assert "properties" in one, name
    for document in DOCUMENTS:
        schema = schemas()["$defs"][document.name]
        one = schema["items"] if document.many else schema
        assert one["properties"]["schema"]["const"] == SCHEMA
        assert "schema" in one["required"]


def test_a_document_that_does_not_fit_its_schema_is_noticed() -> None:
    document = {"schema": 1, "name": "laptop", "device_id": "aa"}
    assert complaints("device-name", document) == []
    assert complaints("device-name", {**document, "name": 5})
    assert complaints("device-name", {**document, "new": 5})
    assert complaints("device-name", {**document, "schema": 2})
    assert complaints("device-name", {"schema": 1, "name": "laptop"})
    volume = {"schema": 1, "id": "aa", "name": "docs", "role": "writer", "state": "ready", "explanation": ""}
    assert complaints("list", [volume]) == []
    assert complaints("list", [volume, {**volume, "role": "king"}])
    event = {"schema": 1, "event": "holofsd is up", "level": "info", "timestamp": "now", "pid": 5}
    assert complaints("log", event) == []
    with pytest.raises(AssertionError):
        json_documents.check(["device", "name", "--json"], json.dumps({**document, "new": 5}), "")
    with pytest.raises(AssertionError):
        json_documents.check(["list"], "", 'A remark.\n{"error": {"code": "x"}}')


def test_a_command_line_leads_to_its_schema() -> None:
    known = {document.name for document in DOCUMENTS}
    lines = {
        "share docs": "share",
        "share --list docs": "share-list",
        "share --revoke docs all": "share-revoke",
        "members docs role b writer": "members-role",
        "members remove docs b": "members-remove",
        "members docs": "members",
        "trash list docs": "trash-list",
        "device new-key": "device-new-key",
        "resolve --all --keep both": "resolve-all",
        "install --dry-run": "install-dry-run",
    }
    for line, name in lines.items():
        assert name_of(line.split()) == name
        assert name in known


def test_a_key_that_would_be_lost_is_refused_unless_the_version_is_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = tmp_path / "schema.json"
    text = (ROOT / json_docs.STORED).read_text()
    stored.write_text(text)
    assert json_docs.schema_text(stored, schemas()) == text
    for name, key in (("list", "role"), ("MountInfo", "pid"), ("error", "error")):
        less = json.loads(text)
        schema = less["$defs"][name]
        del schema.get("items", schema)["properties"][key]
        with pytest.raises(SystemExit, match=key):
            json_docs.schema_text(stored, less)
    other = json.loads(text)
    other["$defs"]["up"]["properties"]["pid"] = {"type": "string"}
    with pytest.raises(SystemExit, match="pid was `integer` and is `string`"):
        json_docs.schema_text(stored, other)
    monkeypatch.setattr(json_docs, "SCHEMA", SCHEMA + 1)
    assert json_docs.schema_text(stored, other)
    more = json.loads(text)
    more["$defs"]["up"]["properties"]["new"] = {"type": "string"}
    assert json_docs.schema_text(stored, more)
