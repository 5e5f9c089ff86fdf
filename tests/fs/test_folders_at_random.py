# SPDX-License-Identifier: GPL-3.0-or-later
"""Two devices move, exchange, remove and make folders of few names, apart and over many rounds.

What is done below a folder stays below it: where moves make a cycle, nothing turns up at the root of the volume.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import pytest

from holofsd.core.errors import HoloError, NameExists
from holofsd.core.state import Kind
from holofsd.fs.types import RenameFlags
from tests.fs.folders import Folders, remove
from tests.fs.harness import Program
from tests.tree.harness import derived, from_scratch

NAMES = "abcd"
TOPS = ("c0", "c1", "c2")
ROUNDS = 14
OPERATIONS = (
    *("mkdir", "mkdir", "mkdir", "write", "write", "rename", "move", "move", "move", "move", "exchange", "exchange"),
    *("replace", "remove", "make_again", "rmdir", "link", "symlink", "edit"),
)


class Rounds(Folders):
    def __init__(self, directory: Path, seed: int) -> None:
        super().__init__(directory)
        self.random = random.Random(seed)
        self.written = 0

    def _new(self, top: str) -> str:
        return "/".join([top, *self.random.choices(NAMES, k=self.random.choice((1, 1, 2, 2, 3, 4)))])

    def _one_of(self, tree: Mapping[str, Kind], top: str, *, folders: bool) -> str:
        """An existing path below `top`, or one that is not there."""
        found = sorted(path for path, kind in tree.items() if (kind is Kind.DIRECTORY) == folders)
        return self.random.choice(found) if found else f"{top}/none"

    def _content(self) -> bytes:
        self.written += 1
        return str(self.written).encode()

    async def anything(self, program: Program, top: str) -> None:
        operation = self.random.choice(OPERATIONS)
        tree = await program.kinds(top)
        path = self._one_of(tree, top, folders=operation not in ("rename", "link", "edit"))
        other = self._one_of(tree, top, folders=True)
        with suppress(HoloError):
            await self._do(program, top, operation, path, other)

    async def _do(self, program: Program, top: str, operation: str, path: str, other: str) -> None:
        match operation:
            case "mkdir":
                await self._make_all(program, self._new(top))
            case "write":
                folder = self._new(top)
                await self._make_all(program, folder)
                await program.write(f"{folder}/{self.random.choice(NAMES)}", self._content())
            case "rename":
                await program.rename(path, self._new(top))
            case "move":
                name = self.random.choice((path.rpartition("/")[2], self.random.choice(NAMES)))
                await program.rename(path, f"{self.random.choice((other, top))}/{name}")
            case "exchange":
                await program.rename(path, other, RenameFlags.EXCHANGE)
            case "replace":
                await program.rename(path, other)
            case "remove":
                await remove(program, path)
            case "make_again":
                await remove(program, path)
                await program.mkdir(path)
                await program.write(f"{path}/{self.random.choice(NAMES)}", self._content())
            case "rmdir":
                await program.rmdir(path)
            case "link":
                await program.link(path, self._new(top))
            case "symlink":
                await program.symlink("x", self._new(top))
            case _:
                await program.write(path, self._content())

    async def _make_all(self, program: Program, path: str) -> None:
        parts = path.split("/")
        for length in range(2, len(parts) + 1):
            with suppress(NameExists):
                await program.mkdir("/".join(parts[:length]))

    def check_indexes(self) -> None:
        for device in self.devices:
            assert derived(device.store) == from_scratch({state.id: state for state in device.states()})


@pytest.mark.parametrize("seed", range(3))
async def test_nothing_that_was_done_below_a_folder_turns_up_elsewhere(tmp_path: Path, seed: int) -> None:
    rounds = Rounds(tmp_path, seed)
    try:
        for top in TOPS:
            await rounds.programs[0].mkdir(top)
        await rounds.agree()
        for _ in range(ROUNDS):
            for top in TOPS:
                for program in rounds.programs:
                    for _ in range(rounds.random.randint(2, 7)):
                        await rounds.anything(program, top)
            tree = await rounds.agree()
            assert sorted(path for path in tree if "/" not in path) == list(TOPS)
            rounds.check_indexes()
    finally:
        for device in rounds.devices:
            device.kill()
