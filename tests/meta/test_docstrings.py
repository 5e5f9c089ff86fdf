# SPDX-License-Identifier: GPL-3.0-or-later
"""Docstrings that begin with what the thing is (a noun phrase) or does (a verb): docs/development.md tells the style.

A docstring that begins with a pronoun, a relative or a preposition makes the reader guess its subject.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from support.sources import ROOT, is_generated, tracked_files

PRONOUNS = {
    *("it", "its", "he", "she", "they", "them", "we", "us", "you", "these", "those", "that"),
    *("somebody", "someone", "something", "nobody", "nothing", "anybody", "anyone", "anything"),
    *("everybody", "everyone", "everything"),
}
RELATIVES = {
    *("what", "whatever", "which", "who", "whoever", "whom", "whose", "where", "wherever", "when", "whenever"),
    *("why", "how", "if", "because", "so"),
}
PREPOSITIONS = {
    *("about", "above", "after", "against", "among", "as", "at", "before", "behind", "below", "beside", "between"),
    *("beyond", "by", "during", "for", "from", "in", "inside", "into", "like", "of", "on", "onto", "outside", "over"),
    *("past", "per", "since", "through", "to", "under", "until", "up", "upon", "while", "with", "within", "without"),
}
BAD_BEGINNINGS = PRONOUNS | RELATIVES | PREPOSITIONS


UNCLEAR = {"one", "whether"}
"""Words that say neither what a thing is nor what a function does."""


def docstrings(folder: str) -> Iterator[tuple[str, str]]:
    """Every docstring of a module, class or function below a top folder, and where it is."""
    for path in tracked_files():
        where = path.relative_to(ROOT)
        if path.suffix != ".py" or is_generated(path) or where.parts[0] != folder:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                text = ast.get_docstring(node)
                if text:
                    yield f"{where}:{getattr(node, 'lineno', 1)}", text


def begins_badly(text: str) -> bool:
    """Whether the first word is no noun, verb, article, number or name."""
    found = re.match(r"[A-Za-z]+(?![\w.`(])", text)
    return found is not None and found.group().lower() in BAD_BEGINNINGS


def first_word(text: str) -> str:
    return text.split(maxsplit=1)[0].lower()


FOLDERS = ("holofsd", "holofs_mount", "holofs_window", "holofsctl", "proto", "benchmarks", "release", "tests")


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_docstring_begins_with_what_the_thing_is_or_does(folder: str) -> None:
    bad = [f"{where}: {text.splitlines()[0]}" for where, text in docstrings(folder) if begins_badly(text)]
    assert not bad, "\n".join(bad)


@pytest.mark.parametrize("folder", ["holofs_window", "holofsctl", "proto"])
def test_a_docstring_of_a_client_names_its_thing_or_begins_with_a_verb(folder: str) -> None:
    bad = [f"{where}: {text.splitlines()[0]}" for where, text in docstrings(folder) if first_word(text) in UNCLEAR]
    assert not bad, "\n".join(bad)


@pytest.mark.parametrize(
    ("text", "is_bad"),
    [
        ("What is on its way.", True),
        ("Of a symlink.", True),
        ("Nobody may write.", True),
        ("As `remember`, for changes.", True),
        ("A call on its way.", False),
        ("Whether the name is free.", False),
        ("Removes one name.", False),
        ("None if there is no such inode.", False),
    ],
)
def test_a_bad_beginning_is_known(text: str, is_bad: bool) -> None:
    assert begins_badly(text) is is_bad
