# SPDX-License-Identifier: GPL-3.0-or-later
"""A person settles a conflict."""

from __future__ import annotations

from holofsd.fs.names.settling import Keep, Settled
from model.looking import Looking, Numbers


class Settles(Looking):
    async def settle(self, n: Numbers) -> None:
        alternatives = self.device.fs.alternatives
        found = await alternatives.listing()
        if not found:
            return
        contested = found[n[0] % len(found)]
        ids = [choice.id for choice in contested.choices]
        one = Keep("id", ids[n[2] % len(ids)])
        of = Keep("device", contested.choices[n[2] % len(contested.choices)].device)
        keep = (one, one, Keep("shown"), Keep("newest"), Keep("both"), Keep("copy"), of)[n[1] % 7]
        copies = [choice.path for choice in contested.choices[1:] if choice.path]
        path = copies[n[2] % len(copies)] if keep.how == "copy" and copies else contested.path
        slot, named = alternatives.find(path)
        await self.device.fs.settling.bring(slot, keep, named.id if named is not None else "")
        # What follows it does at one go, on what is shown now.
        contents = {choice.id: self.content_of(choice.version) for choice in alternatives.at(slot)}
        self._settled(await self.device.fs.settling.one(path, keep), contents)

    async def settle_all(self, n: Numbers) -> None:
        alternatives = self.device.fs.alternatives
        contents: dict[str, bytes] = {}
        keep = (Keep("shown"), Keep("newest"), Keep("both"))[n[0] % 3]
        for contested in await alternatives.listing():
            await self.device.fs.settling.bring(contested.slot, keep)
        for contested in await alternatives.listing():
            for choice in alternatives.at(contested.slot):
                contents[choice.id] = self.content_of(choice.version)
        async for done in self.device.fs.settling.all_below(b"", keep):
            self._settled(done, contents)

    def _settled(self, done: Settled, contents: dict[str, bytes]) -> None:
        for replaced in done.replaced:
            self.ledger.supersede(contents.get(replaced.id, b""), self.where)
