# SPDX-License-Identifier: GPL-3.0-or-later
"""Heads that vouch for more of their author's versions than a later one of it does.

What others say of an author's versions counts as far as its head vouches for them. A dishonest one can lower that: who
had merged a version would go on showing it, and who hears of it later would not. So the most that an author ever
vouched for counts, and whoever sees it lowered passes on the head that shows it.
"""

from __future__ import annotations

from collections.abc import Iterable

import structlog

from holofsd.codec.signing import verify_head
from holofsd.core.document import Head
from holofsd.store.volume import VolumeStore
from holofsd.sync.members import Members
from holofsd.sync.merging import Merger

log = structlog.get_logger(__name__)


class Widest:
    """Keeper of those heads. Sessions tell them to the other side (`Outgoing`)."""

    def __init__(self, store: VolumeStore, members: Members, merger: Merger) -> None:
        self._store = store
        self._members = members
        self._merger = merger

    def is_news(self, head: Head) -> bool:
        """Returns whether a head vouches for more than all that is known of its author."""
        return head.dots > self._store.documents.dots_of(head.author)

    def compare(self, shown: Head, held: Head) -> None:
        """Compares a head that another device holds with ours, which is no earlier one."""
        if self.is_news(shown):
            self.take((shown,))
            return
        is_lowered = shown.seq == held.seq and shown.dots < held.dots
        if is_lowered and held.author not in self._store.documents.widest() and verify_head(self._store.volume, shown):
            self._keep(held)

    def take(self, heads: Iterable[Head]) -> None:
        """Keeps heads of other authors that vouch for more than what is known, as far as they count."""
        for head in heads:
            active = self._store.active_author()
            if active is not None and head.author == active[0]:
                continue
            if self.is_news(head) and self._members.head_counts(head) and verify_head(self._store.volume, head):
                self._keep(head)

    def _keep(self, head: Head) -> None:
        log.warning("an author vouches for less than before", author=head.author.hex()[:8], seq=head.seq)
        with self._store.db.transaction():
            self._store.documents.keep_widest(head)
            self._store.documents.requeue_waiting(head.author)
            self._store.db.after_commit(self._merger.kick)
