# SPDX-License-Identifier: GPL-3.0-or-later
"""Conflicts of the volumes of this device as values of the local API: listed, settled, read."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Final

from holofsd.core.errors import BadArgument
from holofsd.daemon.volumes import OpenVolume
from holofsd.fs.names.settling import Keep, Settled
from holofsd.rpc import device_api as api

_MOST: Final = 10_000
"""More than a person reads, less than a reply holds."""


async def listed(opened: OpenVolume, name: str, path: bytes) -> list[api.Conflict]:
    """One for each copy. `name`: of the volume."""
    found: list[api.Conflict] = []
    for contested in await opened.filesystem.alternatives.listing(path, _MOST):
        shown, *copies = contested.choices
        for copy in copies:
            found.append(
                api.Conflict(
                    copy.path,
                    contested.path,
                    copy.device,
                    copy.written_ms,
                    copy.size,
                    volume=name,
                    id=copy.id,
                    kind=copy.kind,
                    here=copy.here,
                    shown=shown,
                )
            )
    return found


async def settled(opened: OpenVolume, name: str, asked: api.Resolution) -> AsyncIterator[api.SettledConflict]:
    """One, or all at or below a path, as they are done."""
    keep, settling = Keep(asked.keep, asked.device or asked.id), opened.filesystem.settling
    if not asked.all:
        done = await settling.one(asked.path, keep)
        await opened.filesystem.mounts_know()
        yield _told(done, name)
        return
    if asked.keep in ("copy", "id"):
        raise BadArgument("This says which one of a single conflict to keep: settle one after the other, without all.")
    async with aclosing(settling.all_below(asked.path, keep)) as steps:  # type: ignore[type-var]
        async for step in steps:
            yield _told(step, name)
    await opened.filesystem.mounts_know()


def _told(done: Settled, name: str) -> api.SettledConflict:
    return api.SettledConflict(name, done.path, done.kept, done.replaced, done.files, done.problem)
