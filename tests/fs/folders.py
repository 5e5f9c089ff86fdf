# SPDX-License-Identifier: GPL-3.0-or-later
"""Two devices that make, move and remove folders while they are apart."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.fs.harness import Program
from tests.fs.test_two_devices import Both


@asynccontextmanager
async def two(tmp_path: Path, *paths: str) -> AsyncIterator[tuple[Both, Program, Program]]:
    """Two devices that have met; `paths` are there: folders end with a slash, files have their path as content."""
    both = Both(tmp_path)
    try:
        a, b = both.programs
        for path in paths:
            await (a.mkdir(path[:-1]) if path.endswith("/") else a.write(path, path.encode()))
        await both.agree()
        yield both, a, b
    finally:
        for device in both.devices:
            device.kill()


async def remove(program: Program, path: str) -> None:
    """rm -r"""
    for name in await program.names(path):
        below = f"{path}/{name}"
        if (await program.stat(below)).kind.name == "DIRECTORY":
            await remove(program, below)
        else:
            await program.unlink(below)
    await program.rmdir(path)


async def make(program: Program, folder: str, *files: str) -> None:
    """A new folder, with files whose content says who made them."""
    await program.mkdir(folder)
    for file in files:
        await program.write(f"{folder}/{file}", f"{file} by {program.device.name}".encode())


def files(*paths: str, by: str) -> dict[str, bytes | None]:
    return {path: f"{path.rpartition('/')[2]} by {by}".encode() for path in paths}


class Folders(Both):
    async def remove_all_of(self, program: Program, path: str) -> None:
        await remove(program, path)

    async def make_again(self, program: Program, path: str) -> None:
        await remove(program, path)
        await make(program, path, "f", "new")
