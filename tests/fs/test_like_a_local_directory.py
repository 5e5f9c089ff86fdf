# SPDX-License-Identifier: GPL-3.0-or-later
"""Any sequence of operations has the results, and fails with the errors, that it has on a local directory."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from holofsd.core.errors import HoloError
from holofsd.fs.types import RenameFlags
from tests.fs.harness import Device, Program
from tests.fs.local import LocalDirectory, seen_by

_NAMES = st.sampled_from(["a", "b", "c"])
_PATHS = st.one_of(_NAMES, st.tuples(_NAMES, _NAMES).map("/".join), st.tuples(_NAMES, _NAMES, _NAMES).map("/".join))
_DATA = st.one_of(
    st.binary(max_size=20),
    st.tuples(st.binary(min_size=1, max_size=2), st.sampled_from([4096, 4097, 70_000])).map(
        lambda pair: (pair[0] * pair[1])[: pair[1]]
    ),
)
_SIZES = st.sampled_from([0, 1, 10, 4096, 5000, 70_000])
_FLAGS = st.sampled_from([RenameFlags.NONE, RenameFlags.NONE, RenameFlags.NO_REPLACE, RenameFlags.EXCHANGE])
_MODES = st.sampled_from([0o644, 0o755, 0o600, 0o4711])
_TIMES = st.sampled_from([0, 1_000_000_007, 1_700_000_000_123_456_789])


@dataclass(frozen=True)
class Op:
    name: str
    args: tuple[Any, ...]

    @property
    def paths(self) -> tuple[str, ...]:
        """Paths that it looks at; the names themselves are not followed but by `FOLLOWS`."""
        if self.name in ("rename", "link"):
            return self.args[:2]
        if self.name == "symlink":
            return self.args[1:2]
        return self.args[:1] if self.args and isinstance(self.args[0], str) else ()


_FOLLOWS = {"write", "append", "truncate", "chmod", "keep"}


def _op(name: str, *arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[Op]:
    return st.tuples(*arguments).map(lambda args: Op(name, args))


_INDEX = st.integers(0, 3)
_OPS = st.lists(
    st.one_of(
        _op("write", _PATHS, _DATA),
        _op("write", _PATHS, _DATA),
        _op("create_new", _PATHS),
        _op("append", _PATHS, _DATA),
        _op("truncate", _PATHS, _SIZES),
        _op("chmod", _PATHS, _MODES),
        _op("utime", _PATHS, _TIMES),
        _op("mkdir", _PATHS, st.sampled_from([0o755, 0o700])),
        _op("mkdir", _PATHS, st.sampled_from([0o755, 0o700])),
        _op("rmdir", _PATHS),
        _op("unlink", _PATHS),
        _op("symlink", st.sampled_from(["nowhere", "x" * 100]), _PATHS),
        _op("link", _PATHS, _PATHS),
        _op("rename", _PATHS, _PATHS, _FLAGS),
        _op("rename", _PATHS, _PATHS, _FLAGS),
        _op("keep", _PATHS),
        _op("write_kept", _INDEX, _DATA),
        _op("close_kept", _INDEX),
    ),
    max_size=40,
)


class Volume:
    """The operations of LocalDirectory on a volume."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.kept: list[int] = []

    async def do(self, op: Op) -> None:
        own: Callable[..., Awaitable[Any]] | None = getattr(self, op.name, None)
        await (own or getattr(self.program, op.name))(*op.args)

    async def create_new(self, path: str) -> None:
        await self.program.release(await self.program.create(path, exclusive=True))

    async def keep(self, path: str) -> None:
        self.kept.append(await self.program.open(path, write=True))

    async def write_kept(self, index: int, data: bytes) -> None:
        await self.program.put(self.kept[index], data)

    async def close_kept(self, index: int) -> None:
        await self.program.release(self.kept.pop(index))

    async def nlink_kept(self, index: int) -> int:
        opened = self.program.fs._opening.handle(self.program.att, self.kept[index])
        return (await self.program.fs.get_attr(self.program.att, opened.ino)).nlink

    async def read_kept(self, index: int) -> bytes:
        return await self.program.read_handle(self.kept[index])


def _errno_of_local(local: LocalDirectory, op: Op) -> int:
    try:
        getattr(local, op.name)(*op.args)
    except OSError as error:
        return error.errno or 0
    return 0


async def _errno_of_volume(volume: Volume, op: Op) -> int:
    try:
        await volume.do(op)
    except HoloError as error:
        return error.errno
    return 0


def _is_for_filesystems(local: LocalDirectory, op: Op) -> bool:
    """Not what the kernel does itself: following symlinks; nor files that are not open."""
    if any(local.passes_symlink(path, op.name in _FOLLOWS) for path in op.paths):
        return False
    return op.name not in ("write_kept", "close_kept") or op.args[0] < len(local.kept)


@settings(max_examples=60)
@given(_OPS, st.integers(0, 2**16))
async def test_operations_do_what_they_do_on_a_local_directory(ops: list[Op], seed: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        local = LocalDirectory(Path(name) / "local")
        device = Device(Path(name) / "device")
        volume = Volume(device.attach())
        umask = os.umask(0)
        try:
            for number, op in enumerate(ops):
                if not _is_for_filesystems(local, op):
                    continue
                expected = _errno_of_local(local, op)
                assert await _errno_of_volume(volume, op) == expected, op
                for index in range(len(local.kept)):
                    assert await volume.read_kept(index) == local.read_kept(index), (op, index)
                    assert await volume.nlink_kept(index) == local.nlink_kept(index), (op, index)
                if (seed + number) % 3 == 0:
                    await device.fs.hasher.drain()
            assert await seen_by(volume.program) == local.seen()
            await device.fs.hasher.drain()
            assert await seen_by(volume.program) == local.seen()
        finally:
            os.umask(umask)
            local.close()
            device.kill()
