# SPDX-License-Identifier: GPL-3.0-or-later
"""Write-behind of one mount: its parts, and the conditions that `eligibility` decides by."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from holofs_mount.write_behind.creates import CreateClient, CreateObserver, InodeLease, UnsentCreates
from holofs_mount.write_behind.eligibility import Conditions
from holofs_mount.write_behind.journal import Journal
from holofs_mount.write_behind.queue import QueueClient, QueueObserver, WriteBehindQueue


class WriteBehindClient(QueueClient, CreateClient, Protocol):
    """Connection to the daemon."""

    @property
    def connected(self) -> bool: ...


class WriteBehindObserver(QueueObserver, CreateObserver, Protocol):
    """Caches of the mount, as far as write-behind corrects them."""


class MountFacts(Protocol):
    """Facts about the mount that the daemon tells."""

    read_only: bool
    only_mount: bool


class WriteBehind:
    """Queue, journal, inode lease and unsent creates of one mount."""

    def __init__(
        self, client: WriteBehindClient, mount: MountFacts, observer: WriteBehindObserver, now: Callable[[], int]
    ) -> None:
        """`now`: the epoch of this instant."""
        self._client = client
        self._mount = mount
        self.journal = Journal()
        self.queue = WriteBehindQueue(client, now, observer, self.journal)
        self.lease = InodeLease()
        self.creates = UnsentCreates(client, self.lease, observer)

    def conditions(self) -> Conditions:
        """Conditions of this instant."""
        return Conditions(
            connected=self._client.connected,
            writable=not self._mount.read_only,
            only_mount=self._mount.only_mount,
            is_replaying=self.queue.is_replaying,
            has_failed=self.queue.has_failed,
            at_limit=self.queue.at_limit,
            inode_leased=self.lease.available,
            unsent_creates=len(self.creates),
        )
