# SPDX-License-Identifier: GPL-3.0-or-later
"""The past of one volume, for those who ask: versions, trash, bringing things back, and how long all of it is kept."""

from __future__ import annotations

import time
from collections.abc import Iterator

from holofs_api import PAST_INO
from holofsd.core.errors import HoloError
from holofsd.core.ids import NodeId
from holofsd.core.project import token
from holofsd.core.state import Version
from holofsd.fs.content.contents import Contents
from holofsd.fs.content.hashing import Hasher
from holofsd.fs.content.versions import Versions
from holofsd.fs.past.budget import InUse
from holofsd.fs.past.past_files import PastFiles
from holofsd.fs.past.past_reading import PastReading
from holofsd.fs.past.restoring import Restoring
from holofsd.fs.past.retention import Retention
from holofsd.fs.past.trash import Trash
from holofsd.fs.shared.scope import Scope
from holofsd.tree.past import Past


class History:
    """The past of one volume, composed: reading, restoring, trash, retention."""

    def __init__(self, scope: Scope, contents: Contents, versions: Versions, hasher: Hasher) -> None:
        self._scope = scope
        self.past = Past(scope.tree)
        self.trash = Trash(scope, self.past)
        self.restoring = Restoring(scope, contents, versions, self.past, hasher)
        self.files = PastFiles(self.past, contents, scope.now_ms)
        self.reading = PastReading(scope, self.files)
        self.retention = Retention(scope, self.past, self.trash, self._in_use)
        for collector in (self.retention.collector, self.retention.budget.collector):
            collector.also_needed = self._open_versions
        self._began = time.monotonic()

    def _in_use(self) -> InUse:
        """Collects what programs have open of the past, and what is being restored."""
        found = InUse()
        for node, version in self._versions_in_use():
            found.versions.add(token(version.dot))
            found.removed.add(node)
        if time.monotonic() - self._began < self._scope.settings.reattach:
            found.whole = self._scope.store.history.past_nodes()  # mounts of before the start may come back
        return found

    def _open_versions(self) -> Iterator[Version]:
        return (version for _node, version in self._versions_in_use())

    def _versions_in_use(self) -> Iterator[tuple[NodeId, Version]]:
        for entry in self.restoring.in_use():
            if entry.version is not None:
                yield entry.node, entry.version
        for ino in list(self._scope.files.inos()):
            if ino >= PAST_INO:
                try:
                    yield self.files.version(ino)
                except HoloError:
                    continue  # forgotten: who has it open asks for its path again
