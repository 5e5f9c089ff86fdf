# SPDX-License-Identifier: GPL-3.0-or-later
"""A person settles a conflict."""

from __future__ import annotations

from holofsd.fs.settling import Keep
from model.looking import Looking, Numbers


class Settles(Looking):
    async def settle(self, n: Numbers) -> None:
        alternatives = self.device.fs.alternatives
        found = await alternatives.listing()
        if not found:
            return
        contested = found[n[0] % len(found)]
        # What follows it does at one go, on what is shown now.
        await alternatives.bring_newest(contested.slot)
        contents = {choice.id: self.content_of(choice.version) for choice in alternatives.at(contested.slot)}
        if not contents:
            return
        one = Keep("id", list(contents)[n[2] % len(contents)])
        keep = (one, one, one, Keep("shown"), Keep("newest"), Keep("both"))[n[1] % 6]
        done = await self.device.fs.settling.one(contested.path, keep)
        for replaced in done.replaced:
            self.ledger.supersede(contents.get(replaced.id, b""), self.where)
