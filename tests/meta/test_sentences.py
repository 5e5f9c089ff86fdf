# SPDX-License-Identifier: GPL-3.0-or-later
"""One style for what a person reads: messages are sentences, explanations of options are fragments.

Read from the source, so that it holds for messages that no test provokes. docs/development.md tells the style.
"""

from __future__ import annotations

import argparse
import ast
import builtins
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import holofsd.core.errors as errors_module
from holofs_mount.options import MountError
from holofsctl.errors import CommandError
from holofsctl.parser import build, parse
from holofsd.core.errors import HoloError, ProtocolViolation, Refused
from support.sources import ROOT

PLACEHOLDER = "\0"
PROGRAMS = ("holofsd", "holofsctl", "holofs-mount")
REASONS = (Refused, ProtocolViolation)
"""Why something from outside is refused: a fragment, for it stands behind a colon in logs and in `status`."""


def texts(node: ast.expr) -> Iterator[str]:
    """Texts that the expression can be, with a placeholder for every value; nothing where it is no literal."""
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
    for package in ("holofsctl", "holofsd", "holofs_mount", "holofs_window"):
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


# ---- commands in sentences
CHOSEN = ("NAME", "DEVICE")
"""What only the person knows: the name of something new, or of what was not told."""
QUOTED = re.compile(r"`([^`\n]*)`")


def contract() -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted((ROOT / "proto" / "holofs_api").glob("*.py")):
        yield path.relative_to(ROOT), ast.parse(path.read_text())


def spoken() -> Iterator[tuple[str, ast.Constant | ast.JoinedStr]]:
    """Every literal of the programs but docstrings, and where it is."""
    for path, tree in [*sources(), *contract()]:
        nodes = list(ast.walk(tree))
        apart = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
        apart |= {id(part) for node in nodes if isinstance(node, ast.JoinedStr) for part in node.values}
        for node in nodes:
            if isinstance(node, ast.Constant | ast.JoinedStr) and id(node) not in apart:
                yield f"{path}:{node.lineno}", node


def complaint_about(command: str) -> str:
    words = shlex.split(command.replace(PLACEHOLDER, "value"))
    if missing := [word for word in words if word.isupper() and word not in CHOSEN]:
        return f"{missing} is not filled in"
    try:
        parse(words[1:])
    except CommandError as error:
        return error.message
    return ""


def values_in_commands(node: ast.expr) -> Iterator[str]:
    """The source of each value between back quotes, in a command."""
    so_far = ""
    for part in node.values if isinstance(node, ast.JoinedStr) else ():
        if isinstance(part, ast.Constant):
            *whole, last = (so_far + str(part.value)).split("`")
            so_far = f"`{last}" if len(whole) % 2 else last
        elif isinstance(part, ast.FormattedValue) and so_far.startswith("`holofsctl "):
            yield ast.unparse(part.value)


def test_every_command_that_a_sentence_advises_can_be_run_as_it_stands() -> None:
    known = [name.removeprefix("holofsctl ") for name, _ in parsers(build(), "holofsctl")]
    wrong, seen = [], 0
    for where, node in spoken():
        for command in (found for text in texts(node) for found in QUOTED.findall(text)):
            if command.startswith("holofsctl "):
                seen += 1
                if complaint := complaint_about(command):
                    wrong.append(f"{where}: `{command}`: {complaint}")
            elif any(command.startswith(f"{name} ") for name in known):
                wrong.append(f"{where}: `{command}` does not begin with the program")
    assert seen > 40
    assert not wrong, "\n".join(wrong)


def test_every_value_in_an_advised_command_is_a_word_for_a_shell() -> None:
    values = [(where, value) for where, node in spoken() for value in values_in_commands(node)]
    assert len(values) > 15
    assert [found for found in values if found[1] != "word" and not found[1].startswith("shell_word(")] == []
