# SPDX-License-Identifier: GPL-3.0-or-later
"""A call that fails because the disk is full changed nothing, in memory either; and it works once there is room."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from holofsd.core.document import Role
from holofsd.core.errors import NoSpace
from holofsd.daemon.device import Device
from holofsd.rpc import history_api
from support.full import full
from tests.daemon.test_device import World, eventually, join, ticket_of, world

__all__ = ["world"]

Call = Callable[[Device, "Scene"], Awaitable[object]]


class Scene:
    """Device `a` with a volume that `b` is a member of, and a ticket of a volume that `b` made."""

    def __init__(self, a: Device, b: Device, ticket: str) -> None:
        self.a = a
        self.b = b
        self.ticket = ticket


@pytest.fixture
async def scene(world: World) -> AsyncIterator[Scene]:
    async with AsyncExitStack() as stack:
        a = await stack.enter_async_context(world.device("a"))
        b = await stack.enter_async_context(world.device("b"))
        await a.create_volume("docs")
        await join(b, await ticket_of(a, Role.ADMIN))
        await b.create_volume("other")
        await eventually(lambda: a._volumes.find("docs").sync.is_connected(b._device))
        yield Scene(a, b, (await b.share("other", Role.WRITER, 1, 3600)).ticket)


CALLS: dict[str, Call] = {
    "device name": lambda a, scene: a.device_name("beta"),
    "create": lambda a, scene: a.create_volume("new"),
    "share": lambda a, scene: a.share("docs", Role.WRITER, 1, 3600),
    "join": lambda a, scene: join(a, scene.ticket),
    "leave": lambda a, scene: a.leave("docs", True),
    "role": lambda a, scene: a.set_member("docs", scene.b._device.hex(), Role.READER),
    "remove": lambda a, scene: a.set_member("docs", scene.b._device.hex(), None),
    "brake limit": lambda a, scene: a.brake("docs", "limit", 7, 7, ()),
    "brake off": lambda a, scene: a.brake("docs", "off", 0, 0, ()),
    "brake skip": lambda a, scene: a.brake("docs", "skip", 0, 0, (b"made",)),
    "history of a volume": lambda a, scene: a.keep_history("docs", history_api.RetentionSettings(all_seconds=1000)),
    "history of all": lambda a, scene: a.keep_history("", history_api.RetentionSettings(max_bytes=1 << 30)),
    "forgetting the recovery code": lambda a, scene: a.recovery_code("docs", True),
}


async def known(a: Device, state: Path) -> dict[str, Any]:
    """Answers that a person can get."""
    found: dict[str, Any] = {
        "name": await a.device_name(None),
        "volumes": await a.list_volumes(),
        "mounts": (await a.status("")).mounts,
        "directories": sorted(path.name for path in (state / "volumes").iterdir()),
        "history": (await a.keep_history("", history_api.RetentionSettings())).max_bytes,
    }
    for volume in found["volumes"]:
        brake = await a.brake(volume.name, "", 0, 0, ())
        found[volume.name] = (
            [(member.device_id, member.role, member.removed, member.left) for member in await a.members(volume.name)],
            await a.invites(volume.name),
            (brake.off, brake.files, brake.percent, brake.skip),
            (await a.keep_history(volume.name, history_api.RetentionSettings())).all_seconds,
            a._volumes.row(volume.name).secret,
        )
    return found


@pytest.mark.parametrize("name", CALLS)
async def test_what_fails_on_a_full_disk_changed_nothing(scene: Scene, world: World, name: str) -> None:
    a, state = scene.a, world.root / "a"
    before = await known(a, state)
    with full(a._store.db, a._volumes.find("docs").store.db), pytest.raises(NoSpace):
        await CALLS[name](a, scene)
    assert await known(a, state) == before
    await CALLS[name](a, scene)
    assert name == "share" or await known(a, state) != before


async def test_whoever_could_not_leave_is_no_one_who_left(scene: Scene) -> None:
    """A volume that said goodbye before the call failed takes it back."""
    a, b = scene.a, scene.b
    with full(b._store.db), pytest.raises(NoSpace):
        await b.leave("docs", False)
    await eventually(lambda: a._volumes.find("docs").sync.is_connected(b._device))
    await eventually(lambda: not a._volumes.find("docs").sync.marks.has_left(b._device))
