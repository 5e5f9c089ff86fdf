# SPDX-License-Identifier: GPL-3.0-or-later
"""The brake and scrubbing, for a device's owner: the part of `Device` that answers `rpc.safety_api`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

from holofsd.core.brake import BrakeLimit
from holofsd.daemon.volumes import Volumes
from holofsd.rpc import safety_api as api
from holofsd.sync.volume import VolumeSync


def record_budgets(sync: VolumeSync) -> tuple[api.DeviceRecords, ...]:
    return tuple(
        api.DeviceRecords(
            device_id=report.device.hex(),
            name=sync.members.name_of(report.device),
            bytes=report.records.bytes,
            max_bytes=report.most,
            strange_bytes=report.records.strange,
            strange_max_bytes=report.most_strange,
            excess=report.excess or "",
            removed=not sync.members.is_member(report.device),
        )
        for report in sync.ingest.budgets.reports()
    )


class DeviceCare:
    """The part of a device that is about the brake, scrubbing and record budgets."""

    _volumes: Volumes

    async def brake(self, volume: str, act: str, files: int, percent: int, skip: tuple[bytes, ...]) -> api.BrakeReply:
        opened = self._volumes.find(volume)
        brake = opened.sync.brake
        decided = 0
        if act == "limit":
            brake.set_limit(BrakeLimit(files, percent))
        elif act == "off":
            brake.set_limit(BrakeLimit(off=True))
        elif act == "skip":
            brake.set_skip([name for name in skip if name])
        elif act == "accept":
            decided = await brake.accept()
        elif act == "refuse":
            decided = await brake.refuse()
        if decided:
            await opened.filesystem.mounts_know()
        report, limit = brake.report(), brake.limit
        return api.BrakeReply(
            off=limit.off,
            files=limit.files,
            percent=limit.percent,
            held_files=report.files,
            held_directories=report.directories,
            held_since_ms=report.since_ms,
            held_by=report.devices,
            paths=tuple(brake.paths()) if brake.holds else (),
            decided=decided,
            skip=brake.skip,
        )

    async def record_budget(self, volume: str, max_bytes: int | None) -> api.RecordBudgetReply:
        sync = self._volumes.find(volume).sync
        if max_bytes is not None:
            sync.set_record_budget(None if max_bytes == api.DEFAULT_MAX else max_bytes)
        return api.RecordBudgetReply(sync.ingest.budgets.own_max is not None, record_budgets(sync))

    async def scrub(self, volume: str, no_wait: bool) -> AsyncIterator[api.ScrubProgress]:
        opened = [self._volumes.find(volume)] if volume else self._volumes.all()
        for one in opened:
            name = self._volumes.name_of(one.id)
            async with aclosing(one.sync.care.scrub(not no_wait)) as steps:  # type: ignore[type-var]
                async for step in steps:
                    yield api.ScrubProgress(
                        volume=name,
                        paths=step.paths,
                        files=step.files,
                        files_total=step.files_total,
                        bytes=step.bytes,
                        damaged=step.damaged,
                        repaired=step.repaired,
                        done=step.done,
                    )
