# SPDX-License-Identifier: GPL-3.0-or-later
"""The documents: links that lead somewhere, terms that are defined once, decisions that are numbered."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import pytest

from holofsctl.errors import CommandError
from holofsctl.fstab_options import parse_options
from holofsctl.parser import parse
from holofsd.daemon.config import read_config
from support.sources import ROOT, product_modules, tracked_files

LINK = re.compile(r"(?<!\!)\[[^\]]+\]\(([^)\s]+)\)")
TERM = re.compile(r"^- \*\*(?P<term>[^*]+)\*\*", re.MULTILINE)
TERMS = {
    *("device", "volume", "document", "document replica", "author", "member", "node", "record", "state", "tree"),
    *(
        "version",
        "dot",
        "blob",
        "HLC",
        "envelope",
        "head",
        "mark",
        "session",
        "grant",
        "certificate",
        "invite",
        "ticket",
    ),
    *("projection", "conflict copy", "staging file", "finalized", "mount", "context", "twin", "credentials"),
    *("journal", "async create", "lease", "epoch", "change stream", "slot", "entry", "placement", "view", "plain"),
    *("freed", "draft", "unregistered", "stale", "frozen", "content map", "write-behind queue", "tombstone"),
}
DOCUMENTS = {
    *("overview.md", "glossary.md", "state-directory.md", "crash-windows.md", "durability.md", "cli.md", "limits.md"),
    *("protocol.md", "development.md", "history.md", "threats.md", "install.md", "tours.md", "model.md"),
    *("cache-coherence.md", "waits.md", "conflicts.md", "members.md", "brake.md", "performance.md", "found.md"),
    *("write-behind.md", "living-with-it.md", "importing.md", "api.md", "json.md", "configuration.md", "metrics.md"),
    *("ignore.md",),
    *("write-behind.md", "living-with-it.md", "api.md", "json.md", "configuration.md", "metrics.md", "traffic.md"),
    *("write-behind.md", "living-with-it.md", "api.md", "json.md", "configuration.md", "metrics.md"),
    "window.md",
}


def _markdown() -> list[Path]:
    return [path for path in tracked_files() if path.suffix == ".md"]


@pytest.mark.parametrize("path", _markdown(), ids=lambda p: str(p.relative_to(ROOT)))
def test_every_link_leads_somewhere(path: Path) -> None:
    for target in LINK.findall(_without_code(path.read_text())):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        other = (path.parent / file) if file else path
        assert other.exists(), f"{target} in {path.name}"
        if anchor:
            assert anchor in _anchors(other), f"{target} in {path.name}"


def test_the_glossary_owns_every_term_once() -> None:
    terms = TERM.findall((ROOT / "docs" / "glossary.md").read_text())
    assert len(terms) == len(set(terms))
    assert set(terms) >= TERMS, TERMS - set(terms)


def test_every_document_exists_and_is_reached_from_the_overview() -> None:
    overview = (ROOT / "docs" / "overview.md").read_text()
    for name in DOCUMENTS - {"overview.md"}:
        assert (ROOT / "docs" / name).exists(), name
        assert f"({name}" in overview, f"docs/overview.md does not lead to {name}"


def test_decisions_are_numbered_without_gaps_and_have_a_status() -> None:
    records = sorted((ROOT / "docs" / "adr").glob("*.md"))
    assert [path.name[:4] for path in records] == [f"{n:04}" for n in range(1, len(records) + 1)]
    assert len(records) >= 4
    for path in records:
        assert re.search(r"^Status: \w+", path.read_text(), re.MULTILINE), path.name


_PAST = ("history", "restore", "trash", "history-policy", "gc")


def test_every_command_is_in_the_manual() -> None:
    manual = (ROOT / "docs" / "cli.md").read_text()
    commands = ("up", "down", "create", "share", "join", "members", "list", "leave", "mount", "unmount", "status")
    for command in (
        *commands,
        "install",
        "uninstall",
        "config",
        *("pause", "resume", "limit"),
        "peers",
        "fsck",
        "conflicts",
        "diff",
        "resolve",
        *_PAST,
    ):
        assert re.search(rf"^### `{command}\b", manual, re.MULTILINE), command


def test_what_the_page_on_write_behind_names_is_in_the_mount_or_the_daemon() -> None:
    named = re.findall(r"`([A-Z]\w*[a-z]\w*)\.(\w+)`", (ROOT / "docs" / "write-behind.md").read_text())
    assert len(named) > 30
    members: dict[str, set[str]] = {}
    for module in (*product_modules("holofs_mount"), *product_modules("holofsd")):
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ClassDef):
                members.setdefault(node.name, set()).update(_members(node))
    missing = [f"{name}.{member}" for name, member in named if member not in members.get(name, set())]
    assert not missing


def _members(node: ast.ClassDef) -> set[str]:
    """Methods, fields, and whatever is assigned to `self`."""
    found = set()
    for inner in ast.walk(node):
        if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(inner.name)
        elif isinstance(inner, ast.Attribute) and isinstance(inner.ctx, ast.Store):
            found.add(inner.attr)
        elif isinstance(inner, ast.AnnAssign) and isinstance(inner.target, ast.Name):
            found.add(inner.target.id)
    return found


def _without_code(text: str) -> str:
    return re.sub(r"`[^`]*`", "", re.sub(r"```.*?```", "", text, flags=re.DOTALL))


def _anchors(path: Path) -> set[str]:
    heads = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def _examples() -> list[tuple[str, str]]:
    """Lines of code blocks that call `holofsctl`, without remarks, and where they are."""
    found = []
    for path in _markdown():
        for block in re.findall(r"^```\w*\n(.*?)^```", path.read_text(), re.DOTALL | re.MULTILINE):
            for line in block.splitlines():
                if line.startswith("holofsctl "):
                    found.append((path.name, re.split(r"\s{2,}|\s#", line)[0]))
    return found


def test_every_command_of_an_example_can_be_given() -> None:
    wrong = []
    for where, command in _examples():
        try:
            parse(shlex.split(command)[1:])
        except CommandError as error:
            wrong.append(f"{where}: `{command}`: {error.message}")
    assert len(_examples()) > 30
    assert not wrong, "\n".join(wrong)


def test_every_line_of_fstab_and_every_mount_by_type_in_an_example_is_one_that_the_mount_helper_obeys() -> None:
    lines = [line for path in _markdown() for line in path.read_text().splitlines() if "fuse.holofs " in line]
    told = [line.split()[3] for line in lines if re.match(r"\w+\s+/\S+\s+fuse\.holofs\s", line)]
    told += [line.split(" -o ")[1].split()[0] for line in lines if "mount -t fuse.holofs" in line and " -o " in line]
    for options in told:
        parse_options([options])
    assert len(told) >= 4


def test_every_setting_of_an_example_is_one_that_the_daemon_takes() -> None:
    given = [(path.name, line) for path in _markdown() for line in path.read_text().splitlines()]
    examples = [
        (where, line.partition("#")[0].split()[1:]) for where, line in given if line.startswith("export HOLOFS_")
    ]
    for _, settings in examples:
        read_config("/nowhere", False, dict(setting.split("=", 1) for setting in settings))
    assert len(examples) >= 3
