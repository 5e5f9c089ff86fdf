# SPDX-License-Identifier: GPL-3.0-or-later
"""The manual pages: made from the parsers, whole, and without a complaint of the programs that show them."""

from __future__ import annotations

import argparse
import importlib.util
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from support.sources import ROOT

CHECKERS = (
    ("groff", "-ww", "-man", "-z", "-Tutf8"),
    ("mandoc", "-Tlint", "-Werror"),
    ("man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z"),
)


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("holofs_man", ROOT / "scripts" / "man.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def shown(page: str) -> str:
    """The text without the escapes of troff."""
    return re.sub(r"\\\((\w\w)", lambda found: {"aq": "'", "dq": '"', "ga": "`"}.get(found[1], "?"), page).replace(
        "\\-", "-"
    )


def parsers_of(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from parsers_of(inner)


def test_every_program_has_a_page_that_names_each_command_and_option(maker: ModuleType, tmp_path: Path) -> None:
    maker.main(tmp_path / "man1")
    assert {path.name for path in (tmp_path / "man1").iterdir()} == {f"{name}.1" for name in maker.TITLES}
    for parser in maker.parsers():
        text = shown((tmp_path / "man1" / f"{parser.prog}.1").read_text())
        for inner in parsers_of(parser):
            assert inner.prog in text
            for action in inner._actions:
                if action.help != argparse.SUPPRESS:
                    for option in action.option_strings:
                        assert re.search(rf"{option}(?![\w-])", text), f"{inner.prog} {option}"


def test_no_page_is_complained_about(maker: ModuleType, tmp_path: Path) -> None:
    maker.main(tmp_path)
    for program, *options in CHECKERS:
        if found := shutil.which(program):
            for page in sorted(tmp_path.iterdir()):
                command = [found, *options, str(page)]
                done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
                assert (done.returncode, done.stderr) == (0, b""), f"{command}: {done.stderr.decode()}"


def test_troff_takes_text_as_it_stands(maker: ModuleType) -> None:
    assert maker._text(".a 'b' \\c-d") == "\\&.a \\(aqb\\(aq \\ec\\-d"
