# SPDX-License-Identifier: GPL-3.0-or-later
"""References that lead somewhere: from comments to docs, from docs to files, modules, classes and functions."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from support.sources import PACKAGES, ROOT, tracked_files

TEXTS = {".py", ".pyi", ".proto", ".sql", ".md", ".toml", ".sh", ".txt"}
GONE = re.compile(r"\(design\b|\bdesign:|\b[Dd]esign \d|\bDESIGN\b|\bHOUSE\b|\b(?:BRIEF|CONTENT|STYLE)\.md\b")
"""References to documents that are not in this tree."""
PAGE = re.compile(r"(?<![\w/.])docs/([\w-]+(?:/[\w-]+)?\.md)(?:#([\w-]+))?")
DECISION = re.compile(r"\bADRs? (\d+(?:(?:, | and | to )\d+)*)")
FILE = re.compile(r"`((?:[\w-]+/)+[\w-]+\.(?:py|md|sql|proto|toml))`")
PARTS = re.compile(r"`((?:[\w-]+/)+\w+\.py)` \((`[\w.]+`(?:, `[\w.]+`)*)\)")
"""A file with things that are defined in it: `holofsd/fs/content/writing.py` (`Writing.seal`, `copy_pieces`)."""
LAYERS = ("core", "codec", "store", "net", "tree", "sync", "fs", "check", "rpc", "daemon")
MODULE = re.compile(rf"`((?:{'|'.join((*LAYERS, *PACKAGES, 'support'))})(?:\.\w+)+)(?:\(\))?`")
NO_MODULES = {
    "net.ipv4.igmp_max_memberships",
    "holofsd.sock",
    "holofsd.socket",
    "holofsd.log",
    "store.db.transaction",
    "store.add_author",
}
"""A kernel setting, files of the state directory, a unit, and methods of objects that are called so."""
ROOTS = ("", "holofsd", "holofs_mount", "holofs_window", "holofsctl", "proto", "tests")
"""Folders from which a path in back quotes may start."""


def texts() -> Iterator[tuple[Path, str]]:
    for path in tracked_files():
        is_script = path.parent.name in ("scripts", ".ci")
        if (path.suffix in TEXTS or is_script) and path != Path(__file__):
            yield path, path.read_text()


def documents() -> Iterator[tuple[Path, str]]:
    return ((path, text) for path, text in texts() if path.suffix == ".md")


def where(path: Path, text: str, at: int) -> str:
    return f"{path.relative_to(ROOT)}:{text.count(chr(10), 0, at) + 1}"


@cache
def anchors(path: Path) -> set[str]:
    heads = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@cache
def definitions(path: Path) -> set[str]:
    """Names of the classes, functions, methods and constants of a file; a method as `Class.method`."""
    found: set[str] = set()

    def visit(body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                found.add(prefix + node.name)
                if isinstance(node, ast.ClassDef):
                    visit(node.body, f"{prefix}{node.name}.")
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                found.add(prefix + node.target.id)
            elif isinstance(node, ast.Assign):
                found.update(prefix + target.id for target in node.targets if isinstance(target, ast.Name))

    visit(ast.parse(path.read_text()).body, "")
    return found


def file_named(name: str, beside: Path) -> Path | None:
    """The file that a path in a text means: from the root, a package or the text's own folder."""
    places = [ROOT / root / name for root in ROOTS] + [beside.parent / name]
    return next((place for place in places if place.is_file()), None)


def is_module(name: str) -> bool:
    """Whether a dotted name is a module, or something defined in one."""
    parts = name.split(".")
    if parts[0] in LAYERS:
        starts = [ROOT / "holofsd", ROOT / "holofs_mount"]
    elif parts[0] == "support":
        starts = [ROOT / "tests"]
    else:
        starts = [(ROOT / PACKAGES[parts[0]]).parent]
    for start in starts:
        for length in range(len(parts), 0, -1):
            place = start.joinpath(*parts[:length])
            module = place.with_suffix(".py")
            if not module.is_file():
                module = place / "__init__.py"
            rest = ".".join(parts[length:])
            if module.is_file() and (not rest or rest in definitions(module)):
                return True
    return False


def test_no_text_refers_to_a_document_outside_of_the_tree() -> None:
    wrong = [
        f"{where(path, text, hit.start())}: {hit.group()}" for path, text in texts() for hit in GONE.finditer(text)
    ]
    assert not wrong, "\n".join(wrong)


def test_every_page_of_the_docs_that_is_named_exists_with_its_heading() -> None:
    wrong, seen = [], 0
    for path, text in texts():
        for hit in PAGE.finditer(text):
            seen += 1
            page, anchor = ROOT / "docs" / hit[1], hit[2]
            if not page.is_file() or (anchor and anchor not in anchors(page)):
                wrong.append(f"{where(path, text, hit.start())}: {hit.group()}")
    assert seen > 30
    assert not wrong, "\n".join(wrong)


def test_every_decision_that_is_named_exists() -> None:
    known = {int(path.name[:4]) for path in (ROOT / "docs" / "adr").glob("*.md")}
    wrong = []
    for path, text in texts():
        for hit in DECISION.finditer(text):
            if not {int(number) for number in re.findall(r"\d+", hit[1])} <= known:
                wrong.append(f"{where(path, text, hit.start())}: {hit.group()}")
    assert not wrong, "\n".join(wrong)


def test_every_file_that_a_document_names_exists() -> None:
    wrong = [
        f"{where(path, text, hit.start())}: {hit[1]}"
        for path, text in documents()
        for hit in FILE.finditer(text)
        if file_named(hit[1], path) is None
    ]
    assert not wrong, "\n".join(wrong)


def test_every_class_and_function_that_a_document_names_is_in_its_file() -> None:
    wrong, seen = [], 0
    for path, text in documents():
        for hit in PARTS.finditer(text):
            file = file_named(hit[1], path)
            names = set(re.findall(r"`([\w.]+)`", hit[2]))
            seen += len(names)
            if file is not None and (missing := names - definitions(file)):
                wrong.append(f"{where(path, text, hit.start())}: {hit[1]} has no {', '.join(sorted(missing))}")
    assert seen > 50
    assert not wrong, "\n".join(wrong)


def test_every_module_that_a_text_names_exists() -> None:
    wrong = [
        f"{where(path, text, hit.start())}: {hit[1]}"
        for path, text in texts()
        for hit in MODULE.finditer(text)
        if hit[1] not in NO_MODULES and not is_module(hit[1])
    ]
    assert not wrong, "\n".join(wrong)
