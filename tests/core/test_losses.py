# SPDX-License-Identifier: GPL-3.0-or-later
"""Losses: what names say about a removed file, how many files stood at one time, and what a git index lists."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holofsd.core import git_index
from holofsd.core.git_index import tracked_paths
from holofsd.core.losses import is_leftover, is_personal, is_product, most_at_once


@pytest.mark.parametrize(
    "name", [b"main.o", b"letter.txt~", b".letter.swp", b".#letter", b"4913", b"index.lock", b"x.tmp", b".DS_Store"]
)
def test_what_tools_leave_behind_is_no_loss(name: bytes) -> None:
    assert is_leftover(name)


@pytest.mark.parametrize("name", [b"IMG_1.JPG", b"letter.txt", b"lock", b"notes.org", b"tmp", b"o", b"a.out.jpg"])
def test_what_people_make_is(name: bytes) -> None:
    assert not is_leftover(name)


def test_a_product_has_its_source_beside_it_or_looks_like_one() -> None:
    there = {b"prog.c", b"paper.tex", b"IMG_1.xmp"}.__contains__
    assert is_product(b"prog", True, there)
    assert is_product(b"prog", False, there)
    assert is_product(b"paper.pdf", False, there)
    assert is_product(b"libz.so.1.2", False, there)
    assert is_product(b"run-tests", True, there)
    assert not is_product(b"prog.c", False, there)
    assert not is_product(b"IMG_1.jpg", False, there)
    assert not is_product(b"script.sh", True, there)
    assert not is_product(b"README", False, there)


def test_names_of_what_people_make() -> None:
    assert all(map(is_personal, (b"IMG_1.JPG", b"a.heic", b"thesis.tex", b"b.md")))
    assert not any(map(is_personal, (b"main.c", b"jpg", b"index", b"a.jpg.html")))


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)).map(lambda two: (min(two), max(two)))))
def test_most_at_once_is_the_highest_count_of_any_moment(lives: list[tuple[int, int]]) -> None:
    counts = [sum(born <= moment <= died for born, died in lives) for moment in range(21)]
    assert most_at_once(lives) == max(counts)


@pytest.mark.parametrize("version", [2, 3, 4])
@pytest.mark.parametrize("hashes", ["sha1", "sha256"])
def test_a_git_index_lists_what_git_lists(tmp_path: Path, version: int, hashes: str) -> None:
    def git(*arguments: str) -> bytes:
        return subprocess.run(["git", *arguments], cwd=tmp_path, check=True, capture_output=True).stdout

    git("init", "-q", f"--object-format={hashes}")
    for number in range(40):
        folder = tmp_path / f"folder {number % 7}" / "below"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ("n" * number + "ä")).write_text(str(number))
    git("add", "-A")
    (tmp_path / "later").write_text("x")
    if version > 2:
        git("add", "-N", "later")  # has the further flags of version 3
    git("update-index", "--index-version", str(version))
    data = (tmp_path / ".git" / "index").read_bytes()
    assert int.from_bytes(data[4:8], "big") == version
    assert tracked_paths(data) == frozenset(git("ls-files", "-z").split(b"\0")[:-1])
    assert tracked_paths(data[: len(data) // 2]) == frozenset()


def test_a_number_in_an_index_that_is_longer_than_any_name_is_refused_before_it_is_read() -> None:
    """Reading it to its end would take a time that grows with the square of its length."""
    with pytest.raises(ValueError, match="any name"):
        git_index._number(b"\xff" * 1000 + b"\0", 0)


@given(st.binary(max_size=200), st.integers(0, 5), st.integers(0, 2**32 - 1))
def test_an_index_of_nonsense_lists_what_it_likes_and_does_no_harm(body: bytes, version: int, count: int) -> None:
    tracked_paths(body)
    tracked_paths(b"DIRC" + version.to_bytes(4, "big") + count.to_bytes(4, "big") + body)
