# SPDX-License-Identifier: GPL-3.0-or-later
"""Changes for each attachment: others' changes in full, its own only where the answers did not show them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

from holofsd.core.ids import Ino
from holofsd.fs.changes.acknowledgements import Acknowledgements, all_given
from holofsd.fs.shared.scope import Origin, Scope
from holofsd.fs.types import Access, Attachment, ChangeBatch, Company, EntryChange, InodeChange
from holofsd.tree.changes import EntryUpdate, TreeChange


class _Watcher:
    def __init__(self, limit: int, acknowledges: bool) -> None:
        self._limit = limit
        self._acknowledges = acknowledges
        self.acknowledgements = Acknowledgements()
        self._entries: list[EntryChange] = []
        self._inodes: list[InodeChange] = []
        self._reset = False
        self._access = Access.UNCHANGED
        self._company = Company.UNCHANGED
        self._going_down = False
        self.ended = False
        self._wake = asyncio.Event()

    def put(self, entries: list[EntryChange], inodes: list[InodeChange]) -> None:
        if not entries and not inodes:
            return
        if self._reset or len(self._entries) + len(self._inodes) + len(entries) + len(inodes) > self._limit:
            self._reset = True
            self._entries, self._inodes = [], []
        else:
            self._entries += entries
            self._inodes += inodes
        if self._acknowledges:
            self.acknowledgements.expect()
        self._wake.set()

    def say_access(self, access: Access) -> None:
        self._access = access
        self._wake.set()

    def say_company(self, company: Company) -> None:
        self._company = company
        self._wake.set()

    def end(self, going_down: bool) -> None:
        self._going_down |= going_down
        self.ended = True
        self.acknowledgements.close()
        self._wake.set()

    async def next(self) -> ChangeBatch | None:
        """Waits for changes and returns everything since the last call, at once; None at the end."""
        await self._wake.wait()
        batch = ChangeBatch(
            tuple(self._entries),
            tuple(self._inodes),
            self._reset,
            self._access,
            self._going_down,
            self._company,
            self.acknowledgements.number(),
        )
        self._entries, self._inodes = [], []
        self._reset = self._going_down = False
        self._access = Access.UNCHANGED
        self._company = Company.UNCHANGED
        if not self.ended:
            self._wake.clear()
        return None if batch == ChangeBatch() else batch


class Watchers:
    """Change messages of one volume on their way to its mounts, and the waits for their acknowledgements."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._watchers: dict[Attachment, _Watcher] = {}

    def add(self, attachment: Attachment) -> None:
        """Begins to keep changes for an attachment, bounded, until it asks."""
        self._watchers[attachment] = _Watcher(self._scope.settings.watch_changes, attachment.request.acknowledges)

    def remove(self, attachment: Attachment) -> None:
        watcher = self._watchers.pop(attachment, None)
        if watcher is not None:
            watcher.end(going_down=False)

    async def watch(self, attachment: Attachment) -> AsyncIterator[ChangeBatch]:
        watcher = self._watchers.get(attachment)
        while watcher is not None:
            batch = await watcher.next()
            if batch is not None:
                yield batch
            elif watcher.ended:
                return

    async def others_know(self, origin: Attachment | None) -> None:
        """Returns when the other mounts have acknowledged what was changed just now; a second later at most.

        `origin`: the mount that changed it. None: no mount did, so all of them are waited for.
        """
        if origin is None or len(self._watchers) > 1:
            await all_given([w.acknowledgements for att, w in self._watchers.items() if att is not origin])

    def acknowledge(self, attachment: Attachment, number: int) -> None:
        watcher = self._watchers.get(attachment)
        if watcher is not None:
            watcher.acknowledgements.acknowledged(number)

    def tree_changed(self, change: TreeChange, origin: object) -> None:
        """A subscriber of LocalVolume."""
        if not self._watchers:
            return
        made_by = origin if isinstance(origin, Origin) else Origin(None)
        others = [w for attachment, w in self._watchers.items() if attachment is not made_by.attachment]
        own = self._watchers.get(made_by.attachment) if made_by.attachment is not None else None
        names = [e for e in (*change.entries, *change.beside) if e.parent_ino is not None]
        # The answer showed the name under one number of its directory only.
        doubled = {e.parent for e in change.beside}
        inodes = [InodeChange(u.ino, u.content, u.elsewhere, u.now, u.previous) for u in change.inodes]
        if others:
            entries = [self._entry(e) for e in names]
            for watcher in others:
                watcher.put(entries, inodes)
        if own is not None:
            own.put(
                [self._entry(e) for e in names if (e.parent, e.name) not in made_by.names or e.parent in doubled],
                [
                    replace(i, content=False) if i.ino in made_by.written else i
                    for i in inodes
                    if i.ino not in made_by.inodes
                ],
            )

    def _entry(self, change: EntryUpdate) -> EntryChange:
        """Converts a change. A node that is new to the tree may have an inode number already: its maker knows it."""
        ino = change.ino
        if ino is None and not change.gone:
            row = self._scope.nodes.entry(change.parent, change.name)
            ino = self._scope.nodes.find_ino(row.node, row.dot) if row is not None else None
        return EntryChange(change.parent_ino or Ino(0), change.name, ino or Ino(0), change.gone)

    def content_changed(self, ino: Ino, version: bytes, but: Attachment | None) -> None:
        """Tells the mounts that a staging file was begun or written, so that those that show the file ask again."""
        change = InodeChange(ino, content=True, elsewhere=False, version=version, previous=version)
        for attachment, watcher in self._watchers.items():
            if attachment is not but:
                watcher.put([], [change])

    def access_changed(self, can_write: bool) -> None:
        """This device's role changed; a mount that was asked for read-only stays so."""
        for attachment, watcher in self._watchers.items():
            attachment.read_only = attachment.request.read_only or not can_write
            watcher.say_access(Access.READ_ONLY if attachment.read_only else Access.WRITABLE)

    def company_changed(self, shared: bool) -> None:
        """Whether there are several mounts."""
        for attachment, watcher in self._watchers.items():
            if attachment.shared != shared:
                attachment.shared = shared
                watcher.say_company(Company.SHARED if shared else Company.ALONE)

    def close(self) -> None:
        for watcher in self._watchers.values():
            watcher.end(going_down=True)
        self._watchers.clear()
