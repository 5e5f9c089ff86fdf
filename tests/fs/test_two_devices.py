# SPDX-License-Identifier: GPL-3.0-or-later
"""Two devices do anything, apart and in turn: they show one tree when they meet, and all of it can be removed."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from holofsd.core.errors import HoloError
from holofsd.core.state import Kind
from holofsd.fs.names.settling import Keep
from holofsd.fs.types import RenameFlags
from holofsd.tree.outliving import bring_back
from tests.fs.harness import Device, Program

_NAMES = st.sampled_from(["a", "b", ".git"])
_PATHS = st.one_of(_NAMES, st.tuples(_NAMES, _NAMES).map("/".join))
_DATA = st.sampled_from([b"one", b"two", b"three" * 2000])


@dataclass(frozen=True)
class Step:
    """Step of device 0 or 1; `meet` is done by both."""

    who: int
    name: str
    args: tuple[Any, ...] = ()


def step(name: str, *arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[Step]:
    return st.tuples(st.integers(0, 1), st.tuples(*arguments)).map(lambda pair: Step(pair[0], name, pair[1]))


_STEPS = st.lists(
    st.one_of(
        step("write", _PATHS, _DATA),
        step("write", _PATHS, _DATA),
        step("append", _PATHS, _DATA),
        step("chmod", _PATHS, st.sampled_from([0o600, 0o755])),
        step("mkdir", _PATHS),
        step("unlink", _PATHS),
        step("rmdir", _PATHS),
        step("link", _PATHS, _PATHS),
        step("rename", _PATHS, _PATHS, st.sampled_from([RenameFlags.NONE, RenameFlags.NONE, RenameFlags.EXCHANGE])),
        step("rename", _PATHS, _PATHS),
        step("touch_copy", st.integers(0, 5), st.sampled_from(["unlink", "append", "rename"])),
        step("settle", st.integers(0, 5), st.sampled_from(["shown", "newest", "both", "id"])),
        step("meet"),
        step("meet"),
    ),
    max_size=30,
)


class Both:
    def __init__(self, directory: Path) -> None:
        self.devices = [Device(directory / name, name) for name in ("alpha", "beta")]
        self.programs = [device.attach() for device in self.devices]

    async def do(self, step: Step) -> None:
        own = getattr(self, step.name, None)
        try:
            if own is not None:
                await own(self.programs[step.who], *step.args)
            else:
                await getattr(self.programs[step.who], step.name)(*step.args)
        except HoloError:
            pass

    async def meet(self, _program: Program | None = None) -> None:
        for device in self.devices:
            await device.fs.hasher.drain()
        for _ in range(2):
            self.devices[0].give_to(self.devices[1])
            self.devices[1].give_to(self.devices[0])

    async def touch_copy(self, program: Program, index: int, how: str) -> None:
        copies = [path for path in await program.tree() if "(conflict " in path]
        if index >= len(copies):
            return
        path = copies[index]
        if how == "unlink":
            await program.unlink(path)
        elif how == "append":
            await program.append(path, b"+")
        else:
            await program.rename(path, "settled")

    async def settle(self, program: Program, index: int, keep: str) -> None:
        contested = await program.fs.alternatives.listing()
        if index < len(contested):
            last = contested[index].choices[-1].id
            await program.fs.settling.one(contested[index].path, Keep(keep, last if keep == "id" else ""))

    async def agree(self) -> dict[str, bytes | None]:
        """Meets until nothing changes any more; both show the same then."""
        for _ in range(4):
            await self.meet()
            for device in self.devices:
                with device.store.db.transaction():
                    while device.store.outlived(1):
                        bring_back(device.volume)
                    device.volume.reassert_revived()
        await self.meet()
        one, other = [await program.tree() for program in self.programs[:2]]
        assert one == other
        return one

    async def remove_all(self, program: Program, path: str = "") -> None:
        for name in await program.names(path):
            below = f"{path}/{name}" if path else name
            if not await program.exists(below):
                continue  # it was another name of what is gone
            if (await program.stat(below)).kind is Kind.DIRECTORY:
                await self.remove_all(program, below)
                await program.rmdir(below)
            else:
                await program.unlink(below)


@settings(max_examples=60)
@given(_STEPS)
async def test_devices_that_meet_show_one_tree_and_all_of_it_can_be_removed(steps: list[Step]) -> None:
    with tempfile.TemporaryDirectory() as name:
        both = Both(Path(name))
        try:
            for step in steps:
                await both.do(step)
            await both.agree()
            await both.remove_all(both.programs[0])
            assert await both.programs[0].tree() == {}
            assert await both.agree() == {}
        finally:
            for device in both.devices:
                device.kill()
