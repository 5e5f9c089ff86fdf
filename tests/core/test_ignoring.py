# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules of what is ignored: which pattern decides about a name itself, and which lines cannot be used."""

from __future__ import annotations

import time

import pytest

from holofsd.core.ignoring import decision, is_about_rules, meant_name, parse_rules


def ignores(text: str, path: str) -> bool | None:
    """None: no pattern is about it. A path that ends with a slash is a folder's."""
    rule = parse_rules(text.encode()).deciding(path.rstrip("/"), path.endswith("/"))
    return rule.ignores if rule is not None else None


@pytest.mark.parametrize(
    ("text", "path", "expected"),
    [
        ("*.o", "a.o", True),
        ("*.o", "deep/down/a.o", True),
        ("*.o", "a.obj", None),
        ("build/", "build/", True),
        ("build/", "build", None),
        ("build", "build", True),
        ("/build", "sub/build", None),
        ("sub/build", "sub/build/", True),
        ("sub/build", "other/sub/build", None),
        ("**/build", "other/sub/build", True),
        ("build", "build/inside", None),  # the folder is ignored, and with it what is inside
        ("foo*", "foo/foox", True),
        ("/foo*", "foo/foox", None),
        ("a/**", "a/", None),
        ("a/**", "a/b", True),
        ("a/**", "a/b/", True),
        ("a/**/b", "a/x/y/b", True),
        ("*", "a/", True),
        ("*/", "a/b/", True),
        ("*/", "a/b", None),
        ("**/", "a/b/", True),
        ("*\n!*/\n!*.txt", "a/", False),
        ("*\n!*/\n!*.txt", "a/x.txt", False),
        ("*\n!*/\n!*.txt", "a/x.bin", True),
        ("/a/*\n!/a/keep", "a/keep", False),
        ("/a/*\n!/a/keep", "a/", None),
        ("*.log\n!keep.log", "keep.log", False),
        ("!keep.log\n*.log", "keep.log", True),
        ("# a comment\n\n \\#x", "#x", None),
        ("\\#x", "#x", True),
        ("\\!x", "!x", True),
        ("a\\ ", "a ", True),
        ("a ", "a", True),
        ("[ab].c", "b.c", True),
        ("[!ab].c", "b.c", None),
        ("?.c", "b.c", True),
        ("?", "/", None),
        ("ends.txt\r\nnext\r\n", "ends.txt", True),
        ("\ufeffa", "a", True),
        ("caf\u00e9", "caf\u00e9", True),
    ],
)
def test_the_last_pattern_that_matches_the_name_itself_decides(text: str, path: str, expected: bool | None) -> None:
    assert ignores(text, path) is expected


def test_a_rule_knows_its_line() -> None:
    rule = parse_rules(b"# first\n\n*.o\n").deciding("x.o", False)
    assert rule is not None
    assert (rule.line, rule.text) == (3, "*.o")


def test_names_that_are_no_text_are_matched_byte_by_byte() -> None:
    name = b"\xff\xfe.o".decode("utf-8", "surrogateescape")
    assert parse_rules(b"\xff*.o").deciding(name, False) is not None
    assert parse_rules(b"\xfe*.o").deciding(name, False) is None


def test_lines_that_are_no_patterns_or_too_many_are_left_out_and_the_others_count() -> None:
    rules = parse_rules(b"[z-a]\n*.o\nx\\\n")
    assert rules.left_out == (1, 3)
    assert rules.deciding("a.o", False) is not None
    many = parse_rules(b"\n".join(b"name%d" % number for number in range(600)))
    assert len(many.left_out) == 100
    assert many.deciding("name499", False) is not None
    assert many.deciding("name500", False) is None


def test_patterns_from_another_device_cannot_take_for_ever() -> None:
    costly = b"\n".join([b"*a*a*b", b"a*" * 40, b"**/a/**/b/**/c", b"a*a*a*b"] * 60)
    rules = parse_rules(costly)
    began = time.process_time()
    for path in ("a" * 255, "a/" * 500, "a/" * 2000 + "a", "a" * 5000):
        rules.deciding(path.rstrip("/"), False)
    assert time.process_time() - began < 5


def test_while_rules_are_in_conflict_whatever_one_side_ignores_is_ignored() -> None:
    one, other = parse_rules(b"*.o\n"), parse_rules(b"!a.o\n")
    for sides in ([one, other], [other, one]):
        rule = decision(sides, "a.o", False)
        assert rule is not None
        assert rule.ignores
    rule = decision([other, parse_rules(b"")], "a.o", False)
    assert rule is not None
    assert not rule.ignores
    assert decision([], "a.o", False) is None


def test_a_conflict_copy_is_judged_by_the_name_that_it_was_made_from() -> None:
    copy = b".env (conflict laptop 2026-11-20 10-20-30 0123abcd)"
    assert meant_name(copy) == b".env"
    assert meant_name(b"plain") == b"plain"
    assert is_about_rules(b".holofsignore")
    assert is_about_rules(b".holofsignore (conflict laptop 2026-11-20 10-20-30 0123abcd)")
    assert not is_about_rules(b".holofsignore.bak")
