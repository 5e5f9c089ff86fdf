# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands about the past for a device's owner: the part of `Device` that answers `rpc.history_api`."""

from __future__ import annotations

from collections.abc import AsyncIterator

from holofsd.core.retention import HistoryPolicy
from holofsd.core.state import Kind
from holofsd.core.text import writer_name
from holofsd.daemon.volumes import Volumes
from holofsd.fs.past.history import History
from holofsd.fs.types import Restored
from holofsd.rpc import history_api as api
from holofsd.tree.garbage import GRACE_MS


def history_status(history: History) -> api.HistoryStatus:
    policy, sizes = history.retention.policy, history.retention.sizes()
    return api.HistoryStatus(
        policy.all_s,
        policy.daily_s,
        sizes.versions,
        sizes.history,
        sizes.trash,
        history.retention.garbage(),
        history.retention.limit(),
        policy.max_bytes is not None,
    )


class DeviceHistory:
    """The part of a device that is about the past of its volumes."""

    _volumes: Volumes

    def _history_of(self, volume: str) -> History:
        return self._volumes.find(volume).filesystem.history

    async def history(self, volume: str, path: bytes) -> api.HistoryReply:
        history = self._history_of(volume)
        found = history.restoring.history(path)
        upcoming = history.restoring.taken_without_version(path, found)
        versions = tuple(
            api.VersionSummary(
                id=past.id,
                written_ms=past.version.stamp.wall_ms,
                replaced_ms=past.ended_ms,
                size=past.version.size,
                mtime_ns=past.version.mtime.value,
                device=writer_name(past.version.device_name),
                here=past.here,
                shown=past.shown,
                next=past is upcoming,
            )
            for past in found
        )
        return api.HistoryReply(versions, history.past.is_taken(path, Kind.FILE))

    async def restore(self, wanted: api.Restoration) -> AsyncIterator[Restored]:
        filesystem = self._volumes.find(wanted.volume).filesystem
        done = await filesystem.history.restoring.restore(
            wanted.path, version=wanted.version, at_ms=wanted.at_ms, to=wanted.to, from_trash=wanted.from_trash
        )
        await filesystem.mounts_know()
        for one in done:
            yield one

    async def list_trash(self, volume: str, path: bytes, single: bool) -> tuple[api.TrashSummary, ...]:
        return tuple(
            api.TrashSummary(
                item.path,
                item.kind.name.lower(),
                item.removed_ms,
                item.files,
                item.bytes,
                item.device,
                item.here,
                item.taken,
            )
            for item in await self._history_of(volume).trash.list(path, single)
        )

    async def empty_trash(self, volume: str, path: bytes, older_seconds: int) -> api.EmptyTrashReply:
        opened = self._volumes.find(volume)
        before = opened.local.now_ms() - older_seconds * 1000 if older_seconds else None
        emptied = await opened.filesystem.history.trash.empty(path, before)
        return api.EmptyTrashReply(emptied.files, emptied.bytes)

    async def keep_history(self, volume: str, wanted: api.RetentionSettings) -> api.HistoryStatus:
        if not volume:
            return await self._keep_on_device(wanted.max_bytes)
        history = self._history_of(volume)
        if wanted != api.RetentionSettings():
            now, size = history.retention.policy, wanted.max_bytes
            history.retention.set_policy(
                HistoryPolicy(
                    now.all_s if wanted.all_seconds is None else wanted.all_seconds,
                    now.daily_s if wanted.daily_seconds is None else wanted.daily_seconds,
                    now.max_bytes if size is None else None if size == api.DEFAULT_MAX else size,
                )
            )
            await history.retention.tidy()
            await self._volumes.history_budget.enforce()
        return history_status(history)

    async def _keep_on_device(self, size: int | None) -> api.HistoryStatus:
        budget = self._volumes.history_budget
        if size is not None:
            budget.set_max(None if size == api.DEFAULT_MAX else size)
            await budget.enforce()
        all = [opened.filesystem.history.retention for opened in self._volumes.all()]
        sizes = [retention.sizes() for retention in all]
        return api.HistoryStatus(
            all_seconds=0,
            daily_seconds=0,
            versions=sum(each.versions for each in sizes),
            bytes=sum(each.history for each in sizes),
            trash_bytes=sum(each.trash for each in sizes),
            garbage_bytes=sum(retention.garbage() for retention in all),
            max_bytes=budget.limit(),
            own_max=budget.own_max is not None,
        )

    async def collect_garbage(self, volume: str, now: bool) -> api.CollectGarbageReply:
        retention = self._history_of(volume).retention
        await retention.tidy()
        done = await retention.collect(0 if now else GRACE_MS)
        return api.CollectGarbageReply(done.files, done.bytes, done.waiting, done.waiting_bytes)
