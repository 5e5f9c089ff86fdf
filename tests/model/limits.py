# SPDX-License-Identifier: GPL-3.0-or-later
"""Numbers at their limits: times, sizes, modes, names, extended attributes; one beyond where that is an error."""

from __future__ import annotations

from holofs_api.numbers import time_in_range
from holofsd.core.state import Kind
from holofsd.fs.types import SetAttr
from model.looking import Numbers
from model.names import Names

TIMES_NS = (0, 1, -1, (1 << 31) * 10**9, -(1 << 31) * 10**9, (1 << 63) - 1, -(1 << 63) + 1, 999_999_999)
SIZES = (0, 1, 4095, 4096, 4097, 65_535, 65_536, 65_537, 48 * 1024, 600 * 1024)
MODES = (0, 0o7777, 0o4755, 0o1777, 0o2070)
LENGTHS = (1, 200, 251, 254, 255, 256)
XATTR_SIZES = (0, 1, 4096, 65_535, 65_536, 65_537)


class Limits(Names):
    async def limit_time(self, n: Numbers) -> None:
        """Set a time, as the daemon's calls bring it into its range."""
        entry = self.pick(n[0], Kind.FILE, Kind.SYMLINK, Kind.DIRECTORY)
        if entry is not None:
            await self.device.fs.set_attr(
                self.device.att, entry.ino, SetAttr(mtime_ns=time_in_range(TIMES_NS[n[1] % len(TIMES_NS)]))
            )

    async def limit_mode(self, n: Numbers) -> None:
        entry = self.pick(n[0], Kind.FILE, Kind.DIRECTORY)
        if entry is not None:
            await self.device.fs.set_attr(self.device.att, entry.ino, SetAttr(mode=MODES[n[1] % len(MODES)]))

    async def limit_size(self, n: Numbers) -> None:
        entry = self.pick(n[0], Kind.FILE)
        if entry is not None:
            await self.cut(entry, SIZES[n[1] % len(SIZES)])

    async def limit_name(self, n: Numbers) -> None:
        """A file of a name that is as long as it may be: what stands beside it has a longer one."""
        parent, _ = self.slot(n[0])
        name = (b"\xff", b"x", "\u00e4".encode())[n[1] % 3] * 256
        await self.save(parent, name[: LENGTHS[n[2] % len(LENGTHS)]], self.ledger.fresh(12))

    async def limit_rename(self, n: Numbers) -> None:
        entry = self.pick(n[0], Kind.FILE, Kind.DIRECTORY)
        if entry is not None:
            await self.rename_entry(entry, self.folder(n[1]), b"x" * LENGTHS[n[2] % len(LENGTHS)])

    async def limit_xattr(self, n: Numbers) -> None:
        entry = self.pick(n[0], Kind.FILE, Kind.DIRECTORY)
        if entry is None:
            return
        name = (b"user." + b"x" * 256)[: (6, 255, 256)[n[1] % 3]]
        value = b"v" * XATTR_SIZES[n[2] % len(XATTR_SIZES)]
        await self.device.fs.set_xattr(self.device.att, entry.ino, name, value, create=False, replace=False)
