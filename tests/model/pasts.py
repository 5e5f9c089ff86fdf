# SPDX-License-Identifier: GPL-3.0-or-later
"""A person brings back what was, and content that nothing needs is collected at once."""

from __future__ import annotations

from holofsd.core.ids import ROOT_ID
from holofsd.core.state import Kind
from model.looking import Looking, Numbers


class Pasts(Looking):
    async def restore_version(self, n: Numbers) -> None:
        files = [path for path, entry in self.entries() if entry.view.kind is Kind.FILE]
        if not files:
            return
        path = files[n[0] % len(files)]
        ended = [past for past in self.device.fs.history.restoring.history(path) if past.ended_ms]
        if ended:
            await self._restore(path, ended[n[1] % len(ended)].id)

    async def restore_trash(self, n: Numbers) -> None:
        items = await self.device.fs.history.trash.list()
        if items:
            await self._restore(items[n[0] % len(items)].path, "")

    async def restore_beside(self, n: Numbers) -> None:
        """Restore as a new file."""
        items = await self.device.fs.history.trash.list()
        if items:
            path = items[n[0] % len(items)].path
            await self._restore(path, "", to=path + b".old%d" % (n[1] % 3))

    async def restore_time(self, n: Numbers) -> None:
        """A folder as it was some seconds ago."""
        folders = [path for path, entry in self.entries() if entry.view.kind is Kind.DIRECTORY]
        if folders:
            ago_ms = (10, 300, 2_000, 20_000)[n[1] % 4]
            await self._restore(folders[n[0] % len(folders)], "", at_ms=self.device.now_ms() - ago_ms)

    async def _restore(self, path: bytes, version: str, at_ms: int = 0, to: bytes = b"") -> None:
        """Restore as `Restoring.restore` does, step by step: what it replaces is what is shown at the moment of the
        step."""
        restoring = self.device.fs.history.restoring
        from_trash = not version and not at_ms
        plan = restoring.plan(path, version=version, at_ms=at_ms, to=to, from_trash=from_trash)
        for item in plan.items:
            if item.entry is not None:
                if item.entry.version is not None:
                    await restoring._contents.bring(item.entry.node, item.entry.version)
                self._replaces(item.path)
                await restoring.put(plan, item)

    def _replaces(self, path: bytes) -> None:
        node = ROOT_ID
        *folders, name = path.split(b"/")
        for folder in folders:
            above = self.device.local.tree.lookup(node, folder)
            if above is None:
                return
            node = above.node
        entry = self.device.local.tree.lookup(node, name)
        if entry is not None and entry.view.kind is Kind.FILE:
            self.acts_on(entry.ino)

    async def collect(self, n: Numbers) -> None:
        """Collect garbage without the grace period: whatever is needed and goes is missing at the end."""
        if n[0] % 2 and self.may_let_go():
            self.remembers.clear()
            with self.device.store.db.transaction():
                self.device.store.history.purge_before(self.device.now_ms() + 1, 1000)
        await self.device.fs.history.retention.collect(0)

    async def empty_trash(self, n: Numbers) -> None:
        if not self.may_let_go():
            return
        self.remembers.clear()
        await self.device.fs.history.trash.empty()
        if n[0] % 2:
            await self.collect((0,))

    async def tidy(self, _n: Numbers) -> None:
        """Do what the policy says now, and not hours later."""
        await self.device.fs.history.retention.tidy()

    async def squeeze(self, n: Numbers) -> None:
        """Half of the history and trash is too much, or all of it."""
        if not self.may_let_go():
            return
        retention = self.device.fs.history.retention
        left = retention.sizes().all // 2 if n[0] % 2 else 0
        if left < retention.sizes().all:
            self.remembers.clear()
        # In memory only: a device that crashes now comes back with its own limit.
        share, retention.share = retention.share, lambda: left
        try:
            await retention.budget.enforce()
        finally:
            retention.share = share
