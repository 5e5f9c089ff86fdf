# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that stay open while other things happen."""

from __future__ import annotations

from pathlib import Path

from holofsd.codec.content import hash_bytes
from holofsd.core.state import Kind
from holofsd.fs.types import CommitRequest, CreateRequest, OpenHandle
from model.looking import SIZES, Held, Numbers
from model.names import Names


class Holds(Names):
    def some_held(self, number: int) -> list[Held]:
        return [self.held[number % len(self.held)]] if self.held else []

    async def hold(self, n: Numbers) -> None:
        entry = self.pick(n[0], Kind.FILE)
        if entry is None or len(self.held) >= 4:
            return
        handle, device, write = self.new_handle(), self.device, bool(n[1] % 3)
        await device.fs.open(device.att, entry.ino, handle, write=write, truncate=False, base=b"")
        self.held.append(Held(handle, entry.ino, write, entry.view.version, self.contents(entry.ino)))

    async def hold_new(self, n: Numbers) -> None:
        """A file that stays open from its creation on, as of a download."""
        if len(self.held) >= 4:
            return
        (parent, name), handle, device = self.slot(n[0]), self.new_handle(), self.device
        made = await device.fs.create(
            device.att, CreateRequest(parent, name, 0o644, exclusive=True, truncate=True, handle=handle)
        )
        self.held.append(Held(handle, made.attr.ino, True, made.attr.version, set()))

    async def held_write(self, n: Numbers) -> None:
        for held in self.some_held(n[0]):
            if not held.write:
                continue
            device, handle, ino = self.device, held.handle, held.ino
            staged = await device.fs.stage(device.att, handle, empty=False, base=b"")
            if held not in self.held:
                return
            held.staged = True
            self.acts_on(ino)
            before = Path(staged.path).read_bytes()
            data = before + self.ledger.fresh(SIZES[n[1] % len(SIZES)]) if n[2] % 2 else self.ledger.fresh(50)
            held.unanswered = data
            for other in self.held:
                if other.ino == ino:
                    other.unanswered = data
            self.write_file(Path(staged.path), data)
            if n[2] % 3 == 0:
                await device.fs.commit(device.att, CommitRequest(handle))

    async def held_commit(self, n: Numbers) -> None:
        """A small file is written back as a whole, and stays open."""
        for held in self.some_held(n[0]):
            if not held.write or held.staged or self.device.fs._staged.of(held.ino) is not None:
                continue
            data = self.ledger.fresh(40)
            self.acts_on(held.ino)
            await self.commit(held.handle, data)
            self.answered(held.ino, data)

    async def held_sync(self, n: Numbers) -> None:
        """Sync. What fsync answered survives, also if the file is never closed."""
        for held in self.some_held(n[0]):
            data = held.unanswered
            await self.device.fs.fsync(self.device.att, held.handle, held.ino, None)
            if data is not None and held.unanswered == data:
                self.answered(held.ino, data)

    async def held_read(self, n: Numbers) -> None:
        for held in self.some_held(n[0]):
            found = await self.whole(held.handle)
            if found and hash_bytes(found) not in self.ledger.contents and len(found) < 1 << 20:
                raise AssertionError(f"a reader was given {found[:40]!r}…({len(found)}), which nobody wrote")

    async def held_close(self, n: Numbers) -> None:
        for held in self.some_held(n[0]):
            await self.let_go(held, sealing=bool(n[1] % 2))

    async def let_go(self, held: Held, sealing: bool = True) -> None:
        self.held.remove(held)
        shared = any(other.ino == held.ino and other.staged for other in self.held)
        await self.close(held.handle, held.ino, None if shared else held.unanswered, sealing)

    def known_handles(self) -> tuple[OpenHandle, ...]:
        return tuple(OpenHandle(held.handle, held.ino, held.write, held.staged, held.seen) for held in self.held)

    def forget_mount(self) -> None:
        self.held.clear()
