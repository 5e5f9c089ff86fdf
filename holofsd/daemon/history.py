# SPDX-License-Identifier: GPL-3.0-or-later
"""What was, for a device's owner: the part of `Device` that answers `rpc.history_api`."""

from __future__ import annotations

from collections.abc import AsyncIterator

from holofsd.core.retention import HistoryPolicy
from holofsd.daemon.volumes import Volumes
from holofsd.fs.history import History
from holofsd.rpc import history_api as api
from holofsd.tree.garbage import GRACE_MS


def history_status(history: History) -> api.HistoryStatus:
    policy, counts = history.keeping.policy, history.keeping.counts()
    return api.HistoryStatus(policy.all_s, policy.daily_s, counts.versions, counts.bytes)


class DeviceHistory:
    _volumes: Volumes

    def _history_of(self, volume: str) -> History:
        return self._volumes.find(volume).filesystem.history

    async def history(self, volume: str, path: bytes) -> tuple[api.PastVersion, ...]:
        return tuple(
            api.PastVersion(
                id=past.id,
                written_ms=past.version.stamp.wall_ms,
                replaced_ms=past.ended_ms,
                size=past.version.size,
                mtime_ns=past.version.mtime.value,
                device=past.version.device_name,
                here=past.here,
                shown=past.shown,
            )
            for past in self._history_of(volume).restoring.history(path)
        )

    async def restore(self, wanted: api.Restoration) -> AsyncIterator[api.Restored]:
        restoring = self._history_of(wanted.volume).restoring
        done = await restoring.restore(
            wanted.path, version=wanted.version, at_ms=wanted.at_ms, to=wanted.to, from_trash=wanted.from_trash
        )
        for one in done:
            yield api.Restored(one.path, one.what, one.why)

    async def list_trash(self, volume: str, path: bytes, single: bool) -> tuple[api.TrashItem, ...]:
        return tuple(
            api.TrashItem(
                item.path, item.kind.name.lower(), item.removed_ms, item.files, item.bytes, item.device, item.here
            )
            for item in await self._history_of(volume).trash.list(path, single)
        )

    async def empty_trash(self, volume: str, path: bytes, older_seconds: int) -> api.EmptyTrashReply:
        opened = self._volumes.find(volume)
        before = opened.local.now_ms() - older_seconds * 1000 if older_seconds else None
        emptied = await opened.filesystem.history.trash.empty(path, before)
        return api.EmptyTrashReply(emptied.files, emptied.bytes)

    async def keep_history(self, volume: str, all_seconds: int | None, daily_seconds: int | None) -> api.HistoryStatus:
        history = self._history_of(volume)
        if all_seconds is not None or daily_seconds is not None:
            now = history.keeping.policy
            history.keeping.set_policy(
                HistoryPolicy(
                    now.all_s if all_seconds is None else all_seconds,
                    now.daily_s if daily_seconds is None else daily_seconds,
                )
            )
            await history.keeping.tidy()
        return history_status(history)

    async def collect_garbage(self, volume: str, now: bool) -> api.CollectGarbageReply:
        keeping = self._history_of(volume).keeping
        await keeping.tidy()
        done = await keeping.collect(0 if now else GRACE_MS)
        return api.CollectGarbageReply(done.files, done.bytes, done.waiting, done.waiting_bytes)
