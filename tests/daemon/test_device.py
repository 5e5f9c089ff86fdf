# SPDX-License-Identifier: GPL-3.0-or-later
"""Whole devices from the composition root, on a fake network: volumes, invites, members, leaving, restarts, copies."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from holofs_peer.v1 import peer_pb2 as pb
from holofsd.codec.signing import SigningKey
from holofsd.core.document import Role
from holofsd.core.errors import (
    BadArgument,
    DeviceUnknown,
    RoleTooLow,
    TicketInvalid,
    TicketRefused,
    VolumeExists,
    VolumeUnknown,
)
from holofsd.core.ids import ROOT_INO, DeviceId
from holofsd.daemon import joining, state_folder
from holofsd.daemon.composition import running
from holofsd.daemon.config import Config
from holofsd.daemon.device import Device
from holofsd.fs.types import AttachRequest
from holofsd.net.api import Endpoint, NetConfig
from holofsd.net.fake import FakeNetwork
from holofsd.rpc.device_api import JoinProgress
from holofsd.store.threads import Pool, in_thread
from support.full_pool import pool_threads


class World:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.network = FakeNetwork()

    async def bind(self, seed: bytes, config: NetConfig) -> Endpoint:
        return self.network.endpoint(DeviceId(SigningKey(seed).public))

    @asynccontextmanager
    async def device(self, name: str) -> AsyncIterator[Device]:
        """Comes up, and goes when left; the same name again is the same device."""
        config = Config(self.root / name, name)
        state_folder.prepare(config.state)
        async with running(config, asyncio.Event(), bind=self.bind) as device:
            yield device


@pytest.fixture
def world() -> Iterator[World]:
    # Short, because a Unix socket's path has 107 bytes.
    with tempfile.TemporaryDirectory(prefix="hfs-dev-") as root:
        yield World(Path(root))


@pytest.fixture
async def pair(world: World) -> AsyncIterator[tuple[Device, Device]]:
    async with AsyncExitStack() as stack:
        a = await stack.enter_async_context(world.device("a"))
        yield a, await stack.enter_async_context(world.device("b"))


async def ticket_of(device: Device, role: Role = Role.WRITER, uses: int = 1) -> str:
    return (await device.share("docs", role, uses, 3600)).ticket


async def join(device: Device, ticket: str, name: str = "", no_wait: bool = False) -> list[JoinProgress]:
    async with asyncio.timeout(60):
        return [step async for step in device.join(ticket, name, no_wait)]


async def eventually(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not true():  # noqa: ASYNC110 - what is watched tells nobody
            await asyncio.sleep(0.005)


async def names(device: Device) -> list[str]:
    return [volume.name for volume in await device.list_volumes()]


async def test_an_invite_makes_a_second_member_and_wait_sees_it_complete(pair: tuple[Device, Device]) -> None:
    a, b = pair
    await a.create_volume("docs")
    steps = await join(b, await ticket_of(a))
    assert steps[-1].stage == "ready"
    assert steps[-1].volume is not None
    assert (steps[-1].volume.name, steps[-1].volume.role) == ("docs", Role.WRITER)
    assert [member.name for member in await a.members("docs")] == ["a", "b"]
    async with asyncio.timeout(60):
        last = [step async for step in a.wait("docs", 1, 0)][-1]
    assert (last.done, last.copies) == (True, 1)
    (peer,) = await a.peers()
    assert (peer.name, peer.connected, peer.volumes) == ("b", True, ("docs",))


async def test_wait_gives_up_when_the_time_is_over(pair: tuple[Device, Device]) -> None:
    a, _ = pair
    await a.create_volume("docs")
    async with asyncio.timeout(60):
        last = [step async for step in a.wait("docs", 1, 1)][-1]
    assert (last.done, last.copies) == (False, 0)


async def test_a_used_up_ticket_is_refused_and_leaves_nothing_behind(world: World) -> None:
    async with world.device("a") as a, world.device("b") as b, world.device("c") as c:
        await a.create_volume("docs")
        ticket = await ticket_of(a)
        await join(b, ticket)
        with pytest.raises(TicketRefused):
            await join(c, ticket)
        assert await names(c) == []
        with pytest.raises(TicketInvalid):
            await join(c, "holofs1abc")
        assert await names(c) == []
        await join(c, await ticket_of(a), name="papers")
        assert await names(c) == ["papers"]


async def test_joining_waits_for_an_issuer_that_is_away_also_over_a_restart(world: World) -> None:
    async with world.device("a") as a:
        await a.create_volume("docs")
        ticket = await ticket_of(a)
    async with world.device("b") as b:
        steps = await join(b, ticket, no_wait=True)
        assert steps[-1].stage == "waiting"
        (volume,) = await b.list_volumes()
        assert (volume.name, volume.state) == ("docs", "joining")
        assert "keeps trying" in volume.explanation
        with pytest.raises(VolumeUnknown, match="still being joined"):
            await b.filesystem("docs")
    # The address in the ticket was that of a's former port: a fake network with discovery finds it by its key.
    world.network.discovery = True
    async with world.device("a"), world.device("b") as b:
        await eventually(lambda: b._volumes.rows()[0].state == "ready")
        assert (await b.list_volumes())[0].state == "ready"


async def test_an_issuer_that_is_asked_too_often_is_asked_again_later(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Issuers of an earlier program say so of a good ticket, too, when others at its address have guessed."""
    monkeypatch.setattr(joining, "_BUSY_PAUSE_S", 0.05)
    async with world.device("a") as a, world.device("b") as b, world.device("c") as c:
        await a.create_volume("docs")
        ticket = await ticket_of(a)
        inviter = a._hub.inviter
        answer, busy = inviter._answer, pb.Redeemed(refused="slow-down")
        monkeypatch.setattr(inviter, "_answer", lambda connection, data: busy)
        steps = await join(b, ticket, no_wait=True)
        assert steps[-1].stage == "waiting"
        assert "too often" in (await b.list_volumes())[0].explanation
        monkeypatch.setattr(inviter, "_answer", answer)
        await eventually(lambda: b._volumes.rows()[0].state == "ready")
        with pytest.raises(TicketRefused, match="used"):
            await join(c, ticket)


async def test_a_join_that_is_given_up_is_forgotten(world: World) -> None:
    async with world.device("a") as a:
        await a.create_volume("docs")
        ticket = await ticket_of(a)
    async with world.device("b") as b:
        await join(b, ticket, no_wait=True)
        await b.leave("docs", delete=True)
        assert await names(b) == []
    async with world.device("b") as b:
        assert await names(b) == []


async def test_a_ticket_for_what_is_here_says_its_name_and_a_better_one_raises_the_role(
    pair: tuple[Device, Device],
) -> None:
    a, b = pair
    await a.create_volume("docs")
    await join(b, await ticket_of(a, Role.READER))
    with pytest.raises(VolumeExists, match="docs"):
        await join(b, await ticket_of(a, Role.READER))
    await join(b, await ticket_of(a, Role.ADMIN))
    assert (await b.list_volumes())[0].role is Role.ADMIN


async def test_names_are_free_and_sensible_or_refused(pair: tuple[Device, Device]) -> None:
    a, b = pair
    await a.create_volume("docs")
    await b.create_volume("docs")
    for name in ("docs", "", "a/b"):
        with pytest.raises((VolumeExists, BadArgument)):
            await a.create_volume(name)
    ticket = await ticket_of(a)
    with pytest.raises(VolumeExists):
        await join(b, ticket, name="docs")
    assert (await join(b, ticket))[-1].volume.name == "docs-2"  # type: ignore[union-attr]


async def test_members_are_told_by_name_or_id_and_only_an_admin_changes_them(pair: tuple[Device, Device]) -> None:
    a, b = pair
    await a.create_volume("docs")
    await join(b, await ticket_of(a))
    with pytest.raises(RoleTooLow):
        await b.share("docs", Role.WRITER, 1, 0)
    with pytest.raises(RoleTooLow):
        await b.set_member("docs", "a", None)
    with pytest.raises(DeviceUnknown):
        await a.set_member("docs", "nobody", Role.ADMIN)
    assert (await a.set_member("docs", "b", Role.ADMIN)).role is Role.ADMIN


async def test_a_removed_member_is_shown_as_removed_and_learns_it(pair: tuple[Device, Device]) -> None:
    a, b = pair
    await a.create_volume("docs")
    await join(b, await ticket_of(a))
    removed = await a.set_member("docs", b.identity().device_id[:12], None)
    assert (removed.removed, removed.role) == (True, None)
    assert not [member for member in await a.members("docs") if member.name == "b" and not member.removed]


async def test_a_removed_member_that_kept_the_volume_goes_on_with_a_new_ticket(pair: tuple[Device, Device]) -> None:
    a, b = pair
    await a.create_volume("docs")
    await join(b, await ticket_of(a))
    await a.set_member("docs", "b", None)
    await eventually(lambda: b._volumes.find("docs").sync.role is None)
    fs = await b.filesystem("docs")
    attachment = fs.attach(AttachRequest("test", "m", "/mnt", 1, False))
    assert attachment.read_only
    steps = await join(b, await ticket_of(a))
    assert steps[-1].stage == "ready"
    assert [member.generation for member in await a.members("docs")] == [1, 2]
    await eventually(lambda: not attachment.read_only)
    await fs.make_dir(attachment, ROOT_INO, b"back", 0o755)
    async with asyncio.timeout(60):
        last = [step async for step in b.wait("docs", 1, 0)][-1]
    assert last.done


async def test_a_left_volume_is_kept_aside_or_deleted_and_can_be_joined_again(
    world: World, pair: tuple[Device, Device]
) -> None:
    a, b = pair
    await a.create_volume("docs")
    await join(b, await ticket_of(a))
    kept = Path(await b.leave("docs", delete=False))
    assert (kept / "index.db").exists()
    assert await names(b) == []
    with pytest.raises(VolumeUnknown):
        await b.leave("docs", delete=False)
    await join(b, await ticket_of(a))
    assert await b.leave("docs", delete=True) == ""
    assert list((world.root / "b" / "volumes").iterdir()) == []


async def test_volumes_and_members_are_there_again_after_a_restart(world: World) -> None:
    world.network.discovery = True
    async with world.device("a") as a, world.device("b") as b:
        volume = await a.create_volume("docs")
        await join(b, await ticket_of(a))
    async with world.device("a") as a, world.device("b"):
        assert (await a.list_volumes())[0] == volume
        await eventually(lambda: a._volumes.all()[0].sync.copies() == 1)


async def test_a_copied_state_directory_gets_a_new_author(world: World) -> None:
    async with world.device("a") as a:
        await a.create_volume("docs")
        author = a._volumes.all()[0].local.author
    async with world.device("a") as a:
        assert a._volumes.all()[0].local.author == author
    shutil.move(world.root / "a", world.root / "original")
    shutil.copytree(world.root / "original", world.root / "a")
    async with world.device("a") as a:
        rotated = a._volumes.all()[0].local.author
        assert rotated != author
        assert a._volumes.all()[0].sync.can_write
    async with world.device("a") as a:
        assert a._volumes.all()[0].local.author == rotated


async def test_a_damaged_volume_says_so_and_the_others_go_on(world: World) -> None:
    async with world.device("a") as a:
        bad = await a.create_volume("bad")
        await a.create_volume("good")
    index = world.root / "a" / "volumes" / bad.id / "index.db"
    for path in index.parent.glob("index.db*"):
        path.unlink()
    index.write_bytes(b"this is no database" * 1000)
    async with world.device("a") as a:
        volumes = {volume.name: volume for volume in await a.list_volumes()}
        assert (volumes["bad"].state, volumes["good"].state) == ("damaged", "ready")
        assert volumes["bad"].explanation
        status = {one.volume.name: one for one in (await a.status("")).volumes}
        assert set(status) == {"bad", "good"}
        with pytest.raises(VolumeUnknown, match="cannot be used"):
            await a.filesystem("bad")


async def test_a_broken_settings_file_is_told_until_it_is_mended(world: World) -> None:
    async with world.device("a"):
        pass
    file = world.root / "a" / "config.toml"
    file.write_text("[log]\nlevel = 'loud'\n")
    async with world.device("a") as a:
        (warning,) = (await a.status("")).warnings
        assert warning.startswith(f"{file}, line 2: ")
        file.write_text("[network]\nallowed_relays = ['any']\n")
        reply = await a.settings(reload=True)
        assert ("network.allowed_relays", '["any"]') in [(one.key, one.value) for one in reply.settings]
        assert (await a.status("")).warnings == ()


async def test_status_of_a_volume_that_is_not_here_is_refused(pair: tuple[Device, Device]) -> None:
    with pytest.raises(VolumeUnknown):
        await pair[0].status("nowhere")


async def test_a_device_that_stops_leaves_no_thread_of_its_pools(world: World) -> None:
    before = pool_threads()
    async with world.device("a") as a:
        await a.create_volume("docs")
        await in_thread(Pool.BACKGROUND, int)
        assert pool_threads() - before
    assert not pool_threads() - before
