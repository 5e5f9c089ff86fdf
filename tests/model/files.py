# SPDX-License-Identifier: GPL-3.0-or-later
"""Files are written, appended to and cut."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from holofsd.core.ids import Ino
from holofsd.core.state import Inline, Kind
from holofsd.fs.settings import INLINE_COMMIT
from holofsd.fs.types import CommitRequest, CreateRequest, SetAttr
from holofsd.tree.views import Entry
from model.looking import SIZES, Looking, Numbers


class Files(Looking):
    def new_handle(self) -> int:
        self._handles += 1
        return self._handles

    async def put(self, handle: int, ino: Ino, data: bytes, base: bytes = b"") -> None:
        """The whole content as a mount writes it. Not acknowledged before the commit or release is."""
        self.acts_on(ino)
        if len(data) <= INLINE_COMMIT:
            await self.commit(handle, data, base)
            return
        staged = await self.device.fs.stage(self.device.att, handle, empty=True, base=base)
        self.write_file(Path(staged.path), data)

    async def commit(self, handle: int, data: bytes, base: bytes = b"", *, closing: bool = False) -> None:
        """The whole content at once. A crash may keep it and take the answer, so the ledger knows of it first."""
        device, mtime_ns = self.device, self.device.now_ns()
        self.ledger.made(data)
        await device.fs.commit(
            device.att, CommitRequest(handle, data=data, mtime_ns=mtime_ns, seal=closing, release=closing, base=base)
        )

    def write_file(self, path: Path, data: bytes) -> None:
        """Write as the mount's process does, at its time."""
        self.ledger.made(data)
        path.write_bytes(data)
        now_ns = self.device.now_ns()
        os.utime(path, ns=(now_ns, now_ns))

    async def close(self, handle: int, ino: Ino, data: bytes | None, sealing: bool = True) -> None:
        """`data` is acknowledged by it."""
        device = self.device
        if sealing:
            await device.fs.commit(device.att, CommitRequest(handle, seal=True, release=True))
        else:
            await device.fs.release(device.att, handle)
        if data is not None:
            self.answered(ino, data)

    async def save(self, parent: Ino, name: bytes, data: bytes) -> Ino:
        """open(name, 'w').write(data)"""
        device, handle = self.device, self.new_handle()
        entry = self.find(parent, name)
        if entry is not None and entry.view.kind is Kind.FILE:
            self.acts_on(entry.ino)
        made = await device.fs.create(device.att, CreateRequest(parent, name, 0o644, truncate=True, handle=handle))
        try:
            await self.put(handle, made.attr.ino, data)
        except BaseException:
            await device.fs.release(device.att, handle)
            raise
        await self.close(handle, made.attr.ino, data, sealing=bool(len(data) % 2))
        return made.attr.ino

    async def write(self, n: Numbers) -> None:
        parent, name = self.slot(n[0])
        await self.save(parent, name, self.ledger.fresh(SIZES[n[1] % len(SIZES)]))

    async def write_same(self, n: Numbers) -> None:
        """Two people may well write the same."""
        parent, name = self.slot(n[0])
        await self.save(parent, name, b"the same %d" % (n[1] % 2) * (1 if n[2] % 3 else 600))

    async def rewrite(self, n: Numbers) -> None:
        """Any file that is there, conflict copies as well."""
        entry = self.pick(n[0], Kind.FILE)
        if entry is not None:
            await self.save(*self.place(entry), self.ledger.fresh(SIZES[n[1] % len(SIZES)]))

    async def create_new(self, n: Numbers) -> None:
        parent, name = self.slot(n[0])
        handle = self.new_handle() if n[1] % 2 else 0
        device = self.device
        await device.fs.create(device.att, CreateRequest(parent, name, 0o600, exclusive=True, handle=handle))
        if handle:
            await device.fs.release(device.att, handle)

    async def append(self, n: Numbers) -> None:
        entry = self.pick(n[0], Kind.FILE)
        if entry is None:
            return
        device, handle, ino = self.device, self.new_handle(), entry.ino
        await device.fs.open(device.att, ino, handle, write=True, truncate=False, base=b"")
        done = None
        try:
            staged = await device.fs.stage(device.att, handle, empty=False, base=b"")
            self.acts_on(ino)
            done = Path(staged.path).read_bytes() + self.ledger.fresh(SIZES[n[1] % 5])
            self.write_file(Path(staged.path), done)
        finally:
            await self.close(handle, ino, done)

    async def overwrite(self, n: Numbers) -> None:
        """open(name, 'r+').write(data) at some place, by plain calls, as of a client that sees no local files."""
        entry = self.pick(n[0], Kind.FILE)
        if entry is None:
            return
        device, handle, ino = self.device, self.new_handle(), entry.ino
        await device.fs.open(device.att, ino, handle, write=True, truncate=False, base=b"")
        done = None
        try:
            await device.fs.stage(device.att, handle, empty=False, base=b"")
            self.acts_on(ino)
            before, data = await self.whole(handle), self.ledger.fresh(SIZES[n[1] % 5])
            offset = n[2] % (len(before) + 2)
            made = before[:offset].ljust(offset, b"\0") + data + before[offset + len(data) :]
            self.ledger.made(made)
            await device.fs.write(device.att, handle, offset, data)
            done = made
        finally:
            await self.close(handle, ino, done)

    async def late_write(self, n: Numbers) -> None:
        """Pages that were mapped are written back after `close`, and before the kernel lets go of the file."""
        entry = self.pick(n[0], Kind.FILE)
        if entry is None:
            return
        device, handle, ino = self.device, self.new_handle(), entry.ino
        await device.fs.open(device.att, ino, handle, write=True, truncate=False, base=b"")
        done = None
        try:
            staged = await device.fs.stage(device.att, handle, empty=False, base=b"")
            self.acts_on(ino)
            early, late = self.ledger.fresh(40), self.ledger.fresh(SIZES[n[1] % 6])
            self.write_file(Path(staged.path), early)
            await device.fs.commit(device.att, CommitRequest(handle))
            await asyncio.sleep((0.0, 0.02, 1.0, 7.0)[n[2] % 4])
            done = late
            self.acts_on(ino)
            self.write_file(Path(staged.path), late)
        finally:
            await self.close(handle, ino, done, sealing=False)

    async def truncate(self, n: Numbers) -> None:
        entry = self.pick(n[0], Kind.FILE)
        if entry is None:
            return
        await self.cut(entry, (0, 5, 100, 5000, entry.view.size // 2)[n[1] % 5])

    async def cut(self, entry: Entry, size: int) -> None:
        device, ino = self.device, entry.ino
        handle = self.new_handle()
        await device.fs.open(device.att, ino, handle, write=True, truncate=False, base=b"")
        try:
            if size and self.at_hand(ino) is None:
                # Copying suspends: what was copied is what is cut, not what is shown now.
                await device.fs.stage(device.att, handle, empty=False, base=b"")
            self.acts_on(ino)
            self.ledger.made((self.at_hand(ino) or b"")[:size].ljust(size, b"\0"))
            await device.fs.set_attr(device.att, ino, SetAttr(size=size))
        finally:
            await device.fs.release(device.att, handle)

    def at_hand(self, ino: Ino) -> bytes | None:
        """Content of a file, if that is being written or small: it can be changed without copying."""
        staged = self.device.fs._staged.of(ino)
        if staged is not None:
            return staged.path.read_bytes()
        version = self.device.local.tree.version(ino)
        return version.body.data if version is not None and isinstance(version.body, Inline) else None

    async def whole(self, handle: int) -> bytes:
        return await self.device.fs.read(self.device.att, handle, 0, 1 << 20)
