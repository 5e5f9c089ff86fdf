# SPDX-License-Identifier: GPL-3.0-or-later
"""Memory of writes to a staging file, and their repetition on top of a version that has some of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holofs_mount.core.content import StagedBody
from holofs_mount.core.unsaved import Unsaved

operations = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(0, 0), st.binary(min_size=1, max_size=20)),
        st.tuples(st.just("write"), st.integers(0, 60), st.binary(min_size=1, max_size=20)),
        st.tuples(st.just("truncate"), st.integers(0, 60), st.just(b"")),
    ),
    max_size=12,
)


def _body(path: Path, content: bytes) -> StagedBody:
    path.write_bytes(content)
    return StagedBody(str(path), write=True)


def _apply(body: StagedBody, what: str, at: int, data: bytes) -> None:
    if what == "append":
        body.append(data)
    elif what == "write":
        body.write(at, data)
    else:
        body.truncate(at)


@given(before=st.binary(max_size=50), operations=operations, sealed_after=st.integers(0, 12))
def test_a_version_finalized_between_two_writes_gets_all_of_them(
    tmp_path_factory: pytest.TempPathFactory,
    before: bytes,
    operations: list[tuple[str, int, bytes]],
    sealed_after: int,
) -> None:
    directory = tmp_path_factory.getbasetemp()
    source = _body(directory / "source", before)
    finalized = before
    for number, operation in enumerate(operations):
        if number == sealed_after:
            finalized = source.read(0, 1 << 20)
        _apply(source, *operation)
    if sealed_after >= len(operations):
        finalized = source.read(0, 1 << 20)
    written = source.read(0, 1 << 20)
    target = _body(directory / "target", finalized)
    source.unsaved.repeat(source, target)
    assert target.read(0, 1 << 20) == written
    assert not source.unsaved
    source.close()
    target.close()


def test_what_others_appended_meanwhile_stays(tmp_path: Path) -> None:
    source = _body(tmp_path / "source", b"")
    for line in (b"k 1\n", b"k 2\n", b"k 3\n"):
        source.append(line)
    target = _body(tmp_path / "target", b"k 1\nr 1\n")
    source.unsaved.repeat(source, target)
    assert target.read(0, 100) == b"k 1\nr 1\nk 2\nk 3\n"


def test_the_record_of_many_appends_is_bounded(tmp_path: Path) -> None:
    unsaved = Unsaved()
    for number in range(5_000):
        unsaved.wrote(number, number + 1, appended=True)
    assert len(unsaved.writes) == 1024
    assert unsaved.writes[0].start == 0
