# SPDX-License-Identifier: GPL-3.0-or-later
"""Ways in which editors save."""

from __future__ import annotations

from holofsd.core.state import Kind
from holofsd.tree.views import Entry
from model.holds import Holds
from model.looking import SIZES, Held, Numbers


class Saves(Holds):
    async def save_with_backup(self, n: Numbers) -> None:
        """vim: the file becomes the backup, a new one is written, the backup goes."""
        entry = self.pick(n[0], Kind.FILE)
        if entry is None:
            return
        parent, name = self.place(entry)
        backup = name[:240] + b"~"
        await self.rename_entry(entry, parent, backup)
        await self.save(parent, name, self.ledger.fresh(SIZES[n[1] % len(SIZES)]))
        left = self.find(parent, backup)
        if left is not None and n[2] % 3 and left.view.kind is Kind.FILE:
            await self.remove(left)

    async def save_over(self, n: Numbers) -> None:
        """A temporary file, renamed over the old one."""
        entry = self.pick(n[0], Kind.FILE)
        parent, name = self.place(entry) if entry is not None else self.slot(n[0])
        await self.save(parent, b".tmp", self.ledger.fresh(SIZES[n[1] % len(SIZES)]))
        made = self.find(parent, b".tmp")
        if made is not None:
            await self.rename_entry(made, parent, name)

    async def save_anew(self, n: Numbers) -> None:
        """git checkout: unlinked, created."""
        entry = self.pick(n[0], Kind.FILE)
        if entry is not None:
            parent, name = self.place(entry)
            await self.remove(entry)
            await self.save(parent, name, self.ledger.fresh(SIZES[n[1] % len(SIZES)]))

    async def save_stale(self, n: Numbers) -> None:
        """A program that read a version some time ago writes what it made of it."""
        for held in self.some_held(n[0]):
            entry = self.pick(n[0], Kind.FILE)
            view = self.device.local.tree.view(held.ino)
            if entry is None or view is None or entry.node != view.node:
                return
            device, handle, data = self.device, self.new_handle(), self.ledger.fresh(30)
            await device.fs.open(device.att, entry.ino, handle, write=True, truncate=False, base=b"")
            self._supersede_base(entry, held)
            await self.commit(handle, data, held.seen, closing=True)
            self.answered(entry.ino, data)

    def _supersede_base(self, entry: Entry, held: Held) -> None:
        """Supersede what the editor read then; what this device itself put after it counts as seen."""
        for digest in held.saw:
            self.ledger.supersede(digest, self.where)
        shown = self.device.local.tree.version(entry.ino)
        if shown is not None and shown.dot.author in self.device.store.own_authors():
            self.acts_on(entry.ino)
