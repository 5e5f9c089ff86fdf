# SPDX-License-Identifier: GPL-3.0-or-later
"""Sentences of `status` about a volume's sync that a person has to hear of."""

from __future__ import annotations

from collections.abc import Mapping

from holofs_api.words import count
from holofsd.core.ids import AuthorId, DeviceId
from holofsd.sync.budgets import Excess
from holofsd.sync.content import Fetcher
from holofsd.sync.ingest import Ingest
from holofsd.sync.members import Members
from holofsd.sync.merging import Merger
from holofsd.sync.overwriting import Overwriting
from holofsd.sync.publisher import Publisher


class Warnings:
    """Sentences in which `status` warns about a volume.

    `violations`: how often each device broke the protocol; others count on in it.
    """

    def __init__(
        self,
        members: Members,
        merger: Merger,
        fetcher: Fetcher,
        ingest: Ingest,
        publisher: Publisher,
        overwriting: Overwriting,
        violations: Mapping[DeviceId, int],
    ) -> None:
        self._members = members
        self._merger = merger
        self._fetcher = fetcher
        self._ingest = ingest
        self._publisher = publisher
        self._overwriting = overwriting
        self._violations = violations

    def all(self) -> list[str]:
        """Lists what a person should hear of, besides what `status` counts."""
        warnings = []
        if self._members.role is None:
            warnings.append("This device is not a member of the volume any more: nothing is sent or received.")
        over = self._overwriting.last()
        if over is not None:
            files = count(over.files, "file")
            warnings.append(
                f"{self._writer(over.author)} wrote over {files} of other devices within ten minutes:"
                " what was in them is in the history, and restoring with --at brings it back."
            )
        if self._fetcher.counts.no_space:
            warnings.append("The disk is nearly full: content from other devices waits until there is room.")
        elif Excess.DISK in self._ingest.waiting().values():
            warnings.append("The disk is nearly full: changes from other devices wait until there is room.")
        for device, number in {**self._violations, **self._fetcher.counts.wrong}.items():
            times = count(number, "time")
            told = self._members.told(device)
            warnings.append(f"{told} broke the protocol or sent wrong content {times}; it was refused.")
        for author in self._ingest.counts.forks:
            name = self._writer(author)
            warnings.append(
                f"{name} wrote two histories: its state directory was put back from a backup, or two copies of it were"
                " in use. What either of them wrote is kept."
            )
        for device in self._without_seals():
            told = self._members.told(device)
            warnings.append(
                f"{told} has an older version of HoloFS, which cannot prove who wrote what it passes on: upgrade it."
                " Until then some of that is not shown here."
            )
        if self._publisher.too_large:
            files = count(len(self._publisher.too_large), "file has", "files have")
            warnings.append(
                f"{files} too many conflict copies or attributes to be sent: `holofsctl conflicts` lists them."
            )
        return warnings

    def _without_seals(self) -> list[DeviceId]:
        """Devices that passed on versions of others as programs before 0040-seals.sql do."""
        still = filter(self._merger.told.vetting.knows_no_seals, self._merger.old_programs)
        devices = dict.fromkeys(map(self._members.membership.authors.get, still))
        return [device for device in devices if device is not None]

    def _writer(self, author: AuthorId) -> str:
        device = self._members.membership.authors.get(author)
        return self._members.told(device) if device is not None else "a device"
