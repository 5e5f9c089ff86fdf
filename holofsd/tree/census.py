# SPDX-License-Identifier: GPL-3.0-or-later
"""Counts of what the tree holds, kept up to date so that `df` and `status` cost nothing."""

from __future__ import annotations

from holofs_api.numbers import MAX_INTEGER
from holofsd.core.state import Kind
from holofsd.store.nodes import NodeRow
from holofsd.store.volume import VolumeStore
from holofsd.tree.batch import Batch
from holofsd.tree.views import TreeCensus


class TreeCounter:
    def __init__(self, store: VolumeStore) -> None:
        self._store = store
        self._totals: tuple[int, int] | None = None
        """(files, bytes) as committed; None until somebody asked."""

    def totals(self) -> tuple[int, int]:
        """(files, bytes)."""
        if self._totals is None:
            self._totals = self._store.nodes.count_files()
        return self._totals

    def take(self) -> TreeCensus:
        nodes = self._store.nodes
        files, size = self.totals()
        return TreeCensus(
            files, min(size, MAX_INTEGER), nodes.count_copies(), nodes.count_unreachable(), nodes.bad_names()
        )

    def note(self, batch: Batch) -> None:
        files = size = 0
        for work in batch.works.values():
            now, before = _counts(work.row), _counts(work.old)
            files += now[0] - before[0]
            size += now[1] - before[1]
        if files or size:
            self._store.db.after_commit(lambda: self._add(files, size))

    def _add(self, files: int, size: int) -> None:
        if self._totals is not None:
            self._totals = (self._totals[0] + files, self._totals[1] + size)


def _counts(row: NodeRow | None) -> tuple[int, int]:
    return (1, row.size) if row is not None and row.visible and row.kind == Kind.FILE else (0, 0)
