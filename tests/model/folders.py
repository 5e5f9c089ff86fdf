# SPDX-License-Identifier: GPL-3.0-or-later
"""Folders of few names that come and go at a high rate: made, moved, put over each other, removed with all in them."""

from __future__ import annotations

from holofsd.core.ids import ROOT_ID, Ino
from holofsd.core.state import Kind
from holofsd.tree.views import Entry
from model.looking import Numbers
from model.names import Names

FEW = (b"n", b"m", b"k")
INSIDE = (b"0", b"1", b"2")


class Folders(Names):
    def few(self, number: int) -> Entry | None:
        """One of the folders of these names, at the top or in another of them."""
        found = [entry for _, entry in self.entries() if entry.view.kind is Kind.DIRECTORY and entry.slot in FEW]
        return found[number % len(found)] if found else None

    def few_slot(self, number: int) -> tuple[Ino, bytes]:
        """Mostly at the top."""
        within = self.few(number // 16) if number // len(FEW) % 4 == 0 else None
        return (within.ino if within is not None else self.root), FEW[number % len(FEW)]

    async def folder_make(self, n: Numbers) -> None:
        await self.device.fs.make_dir(self.device.att, *self.few_slot(n[0]), 0o755)

    async def folder_fill(self, n: Numbers) -> None:
        """A file or two in one of them."""
        folder = self.few(n[0])
        if folder is None:
            return
        for number in range(1 + n[1] % 2):
            await self.save(folder.ino, INSIDE[(n[1] + number) % len(INSIDE)], self.ledger.fresh(20))

    async def folder_move(self, n: Numbers) -> None:
        """Move to another of the names; over a folder of that name if that is empty."""
        entry = self.few(n[0])
        if entry is not None:
            await self.rename_entry(entry, *self.few_slot(n[1]))

    async def folder_new_name(self, n: Numbers) -> None:
        """mkdir New; mv New Photos"""
        await self.folder_make((0,))
        made = self.device.local.tree.lookup(ROOT_ID, FEW[0])
        if made is not None and made.view.kind is Kind.DIRECTORY:
            await self.rename_entry(made, self.root, (b"Photos", b"Music")[n[0] % 2])

    async def folder_rmdir(self, n: Numbers) -> None:
        entry = self.few(n[0])
        if entry is not None:
            await self.device.fs.remove_dir(self.device.att, *self.place(entry))

    async def folder_wipe(self, n: Numbers) -> None:
        """rm -rf"""
        entry = self.few(n[0])
        if entry is not None:
            await self.remove_below(entry)

    async def folder_renew(self, n: Numbers) -> None:
        """rm -rf feat; mkdir feat; all files anew: another branch is checked out."""
        entry = self.few(n[0])
        if entry is None:
            return
        parent, name = self.place(entry)
        await self.remove_below(entry)
        made = await self.device.fs.make_dir(self.device.att, parent, name, 0o755)
        for inside in INSIDE:
            await self.save(made.ino, inside, self.ledger.fresh(20))

    async def folder_out(self, n: Numbers) -> None:
        """mv d/s s"""
        inner = [e for _, e in self.entries() if e.view.kind is Kind.DIRECTORY and e.parent != ROOT_ID]
        if inner:
            entry = inner[n[0] % len(inner)]
            await self.rename_entry(entry, self.root, entry.name if n[1] % 2 else FEW[n[1] % len(FEW)])
