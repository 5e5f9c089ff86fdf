# SPDX-License-Identifier: GPL-3.0-or-later
"""Very many removals at once, and what a person says of those that the brake holds."""

from __future__ import annotations

from holofsd.core.brake import BrakeLimit
from holofsd.core.state import Kind
from model.looking import Numbers
from model.names import Names

MOST = 12


class Brakes(Names):
    async def brake_limit(self, n: Numbers) -> None:
        """Set limits so low that the few files of a run reach it."""
        limit = BrakeLimit(files=n[0] % 4, percent=(0, 20, 100)[n[1] % 3], off=n[2] % 8 == 0)
        self.device.sync.brake.set_limit(limit)

    async def brake_purge(self, n: Numbers) -> None:
        """Files by the dozen."""
        found = [entry for _, entry in self.entries() if entry.view.kind is not Kind.DIRECTORY]
        for entry in found[n[0] % 2 :][:MOST]:
            now = self.find(*self.place(entry))
            if now is not None and now.ino == entry.ino:
                await self.remove(now)

    async def brake_accept(self, _n: Numbers) -> None:
        await self.device.sync.brake.accept()

    async def brake_refuse(self, _n: Numbers) -> None:
        self.ledger.taken_back |= bool(self.device.sync.brake.holds)
        await self.device.sync.brake.refuse()
