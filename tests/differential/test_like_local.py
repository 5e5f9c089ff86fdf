# SPDX-License-Identifier: GPL-3.0-or-later
"""Any program does on a mount what it does on a local directory, and another device then sees the same."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, note

from differential.place import PROGRAMS, Op, Place
from fuzz.effort import FACTOR, effort
from support.device import World
from support.trees import assert_same_tree
from support.wait import until

LIMIT_S = 140 + 120 * FACTOR


@pytest.mark.timeout(LIMIT_S)
def test_programs_find_on_a_mount_what_they_find_on_a_local_directory(world: World, tmp_path: Path) -> None:
    a, b = world.sharing("a", "b")
    here, there = a.mount(), b.mount()
    for device in (a, b):
        # Each program's folder is removed in the end, and has to go.
        device.ctl("brake", "docs", "--off")
    numbers = itertools.count()

    @effort(25)
    @given(PROGRAMS)
    def compare(program: list[Op]) -> None:
        name = f"program {next(numbers)}"
        # Names in it are short, and a failing program is shown by Hypothesis: nothing is kept.
        around = here / name, Path(tempfile.mkdtemp(dir=tmp_path)) / name
        for folder in around:
            folder.mkdir()  # a symlink to `../a` leads there: what it makes is of this program alone
        mounted, local = Place(around[0] / "root"), Place(around[1] / "root", is_local=True)
        try:
            for op in program:
                expected = local.do(op)
                local.note_turn()
                found = mounted.do(op)
                note(f"{op}: {expected if len(repr(expected)) < 80 else '...'}")
                assert found == expected, f"{op} gave {_short(found)} on the mount and {_short(expected)} elsewhere"
            assert mounted.times() == local.times()
            assert not {(other, one) for one, other in local.order_of_calls()} & mounted.order(), (
                "times are in another order"
            )
        finally:
            mounted.close()
            local.close()
        assert_same_tree(around[1], around[0], xattrs=True, times=False)
        until(lambda: _same(around[0], there / name), "the other device to see the same")
        for folder in around:
            shutil.rmtree(folder)

    compare()


def _short(answer: object) -> str:
    text = repr(answer)
    return text if len(text) < 200 else f"{text[:200]}… ({len(text)})"


def _same(one: Path, other: Path) -> bool:
    assert_same_tree(one, other, xattrs=True)
    return True
