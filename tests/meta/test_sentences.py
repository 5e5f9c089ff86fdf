# SPDX-License-Identifier: GPL-3.0-or-later
"""One style for what a person reads: messages are sentences, explanations of options are fragments.

Read from the source, so that it holds for messages that no test provokes. docs/development.md tells the style.
"""

from __future__ import annotations

import argparse
import ast
import builtins
import re
from collections.abc import Iterator
from pathlib import Path

import holofsd.core.errors as errors_module
from holofs_mount.options import MountError
from holofsctl.errors import CommandError
from holofsctl.parser import build
from holofsd.core.errors import HoloError, ProtocolViolation, Refused
from support.sources import ROOT

PLACEHOLDER = "\0"
PROGRAMS = ("holofsd", "holofsctl", "holofs-mount")
REASONS = (Refused, ProtocolViolation)
"""Why something from outside is refused: a fragment, for it stands behind a colon in logs and in `status`."""


def texts(node: ast.expr) -> Iterator[str]:
    """What the expression can be, with a placeholder for every value; nothing where it is no literal."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        yield "".join(str(part.value) if isinstance(part, ast.Constant) else PLACEHOLDER for part in node.values)
    elif isinstance(node, ast.BinOp):
        for left in texts(node.left):
            yield from (left + right for right in [*texts(node.right)] or [PLACEHOLDER])
    elif isinstance(node, ast.IfExp):
        yield from texts(node.body)
        yield from texts(node.orelse)


def is_sentence(text: str) -> bool:
    begin = text.lstrip("\n")[:1]
    begins = begin in (PLACEHOLDER, "`", "'", "/") or begin.isupper() or text.startswith((*PROGRAMS, "--"))
    return begins and text[-1:] in (".", "?", ":", PLACEHOLDER)


def sources() -> Iterator[tuple[Path, ast.Module]]:
    for package in ("holofsctl", "holofsd", "holofs_mount"):
        for path in sorted((ROOT / package).rglob("*.py")):
            yield path.relative_to(ROOT), ast.parse(path.read_text())


def classes() -> dict[str, type[BaseException]]:
    """Errors that reach a person, by name."""
    found: dict[str, type[BaseException]] = {"CommandError": CommandError, "MountError": MountError}
    for name, value in vars(errors_module).items():
        if isinstance(value, type) and issubclass(value, HoloError) and not issubclass(value, REASONS):
            found[name] = value
    return found


def calls(tree: ast.Module) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.args:
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            yield name, node


def test_every_error_that_reaches_a_person_is_a_sentence() -> None:
    known, seen, wrong = classes(), 0, []
    for path, tree in sources():
        for name, call in calls(tree):
            if name not in known and name != "remark":
                continue
            for text in texts(call.args[0]):
                seen += 1
                if text and not is_sentence(text):
                    wrong.append(f"{path}:{call.lineno}: {name}({text!r})")
    assert seen > 200
    assert not wrong, "\n".join(wrong)


def test_errors_of_the_hierarchy_do_not_hide_behind_names_of_python() -> None:
    assert not {name for name in classes() if hasattr(builtins, name)}


def parsers(parser: argparse.ArgumentParser, name: str) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    yield name, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner, found in action.choices.items():
                yield from parsers(found, f"{name} {inner}")


def test_every_command_is_explained_by_a_sentence_and_every_option_by_a_fragment() -> None:
    wrong, options = [], 0
    for name, parser in parsers(build(), "holofsctl"):
        if name != "holofsctl" and not is_sentence(parser.description or "no"):
            wrong.append(f"{name}: {parser.description}")
        for action in parser._actions:
            if not action.help or action.dest in ("help", "version"):
                continue
            options += 1
            told = re.sub(r"`[^`]*`", "", action.help)
            if told.endswith(".") or told[:1].isupper():
                wrong.append(f"{name} {action.dest}: {action.help}")
    assert options > 50
    assert not wrong, "\n".join(wrong)


def test_every_option_is_explained() -> None:
    unexplained = [
        f"{name} {action.option_strings[0]}"
        for name, parser in parsers(build(), "holofsctl")
        for action in parser._actions
        if action.option_strings and not action.help
    ]
    assert unexplained == []
