# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of several names: one goes, another is written through, renamed over or moved; or all of them go."""

from __future__ import annotations

from holofsd.core.state import Kind
from holofsd.tree.views import Entry
from model.looking import SIZES, Numbers
from model.names import Names


class HardLinks(Names):
    def linked(self, number: int) -> Entry | None:
        """One name of a file that has several; of any file, if none has."""
        found = [entry for _, entry in self.entries() if entry.view.kind is Kind.FILE and entry.view.nlink > 1]
        return found[number % len(found)] if found else self.pick(number, Kind.FILE)

    def names_of(self, entry: Entry) -> list[Entry]:
        return [other for _, other in self.entries() if other.ino == entry.ino]

    async def link_more(self, n: Numbers) -> None:
        """Two names more for one file."""
        entry = self.linked(n[0])
        for number in (n[1], n[2]) if entry is not None else ():
            parent, name = self.slot(number)
            if entry is not None and self.find(parent, name) is None:
                await self.device.fs.link(self.device.att, entry.ino, parent, name)

    async def link_unlink(self, n: Numbers) -> None:
        entry = self.linked(n[0])
        if entry is not None:
            await self.remove(entry)

    async def link_write(self, n: Numbers) -> None:
        """All names show it."""
        entry = self.linked(n[0])
        if entry is not None:
            await self.save(*self.place(entry), self.ledger.fresh(SIZES[n[1] % len(SIZES)]))

    async def link_over(self, n: Numbers) -> None:
        """Another file is renamed over one of the names."""
        entry, other = self.linked(n[0]), self.pick(n[1], Kind.FILE)
        if entry is not None and other is not None and other.ino != entry.ino:
            await self.rename_entry(other, *self.place(entry))

    async def link_move(self, n: Numbers) -> None:
        entry = self.linked(n[0])
        if entry is not None:
            await self.rename_entry(entry, *self.slot(n[1]))

    async def link_remove_all(self, n: Numbers) -> None:
        entry = self.linked(n[0])
        for name in self.names_of(entry) if entry is not None else ():
            now = self.find(*self.place(name))
            if now is not None and entry is not None and now.ino == entry.ino:
                await self.remove(now)
