# SPDX-License-Identifier: GPL-3.0-or-later
"""A member that floods a device with records: the disk keeps its reserve, others are heard, and the room comes back."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from holofsd.codec.ticket import decode_ticket
from support.device import Device, World
from support.disk import MIB, device_on_small_disk
from support.rogue import Rogue, Session, record, rogue
from support.wait import until

pytestmark = pytest.mark.timeout(170)

EXPECTED_LOG = [r"quarantin|records have to wait|disagree|room|violat|protocol"]


@dataclass
class Scene:
    """`a` is flooded; `b` is honest; the rogue is a writer in session with `a`."""

    a: Device
    b: Device
    here: Path
    there: Path
    member: Rogue
    session: Session
    ticket: str

    async def flood(self, mib: int, odd: bool) -> None:
        """Send so much in records, each page a publication. Nobody answers for what is refused."""
        author, volume = self.member.author, decode_ticket(self.ticket).volume
        for number in range(mib):
            after = author.seq
            if odd:
                records = [(b"odd %d" % number, os.urandom(MIB - 300))]
            else:
                names = [b"junk %d %d" % (number, part) for part in range(17)]
                records = [record(self.member.file(name, os.urandom(60_000))) for name in names]
            envelopes, head = author.publish(volume, records)
            self.session.serve[author.id] = (sorted(author.newest.values(), key=lambda e: e.seq), head)
            await self.session.send_records(after, envelopes, head)
        await self.session.in_step()
        assert not self.session.over, "whoever floods is not blamed, but not heard"

    async def told(self) -> dict[str, Any]:
        """Report of `a` about the rogue's records."""
        status = await asyncio.to_thread(self.a.volume_status, "docs")
        return next(each for each in status["record_budgets"] if each["name"] == "rogue")

    async def honest_work_arrives(self) -> None:
        name = f"honest-{os.urandom(4).hex()}"
        await asyncio.to_thread((self.there / name).write_text, name)
        await _until(lambda: (self.here / name).exists(), "honest work to reach a")


async def _until(condition: Callable[[], object], what: str, limit: float = 60) -> None:
    await asyncio.to_thread(until, condition, what, limit)


@asynccontextmanager
async def flooded(world: World, a: Device) -> AsyncIterator[Scene]:
    b = world.device("b")
    for device in (a, b):
        device.allowed += EXPECTED_LOG
        device.up()
    a.create()
    b.join(a.share())
    here, there = a.mount(), b.mount()
    async with rogue() as member:
        ticket = a.share()
        await member.redeem(ticket)
        volume = decode_ticket(ticket).volume
        member.certify(volume)
        session = await member.session(await member.connect(decode_ticket(ticket)), volume)
        yield Scene(a, b, here, there, member, session, ticket)


async def test_a_flood_stops_at_the_reserve_of_the_disk_and_goes_on_when_there_is_room(world: World) -> None:
    a, disk = device_on_small_disk(world, "a", 512 * MIB)
    async with flooded(world, a) as scene:
        await scene.honest_work_arrives()
        await asyncio.to_thread(disk.fill, 120 * MIB)
        await scene.flood(30, odd=False)
        assert (await scene.told())["excess"] == "disk"
        assert disk.free > 32 * MIB, "this device can still write"
        (scene.here / "mine").write_text("mine")
        assert (scene.here / "mine").read_text() == "mine"
        await asyncio.to_thread(disk.empty)
        await scene.honest_work_arrives()


async def test_a_flood_ends_at_the_budget_of_its_device_and_others_are_heard(world: World) -> None:
    a, disk = device_on_small_disk(world, "a", 512 * MIB)
    async with flooded(world, a) as scene:
        for device in (scene.a, scene.b):
            await asyncio.to_thread(device.ctl, "record-budget", "docs", "--max", "20M")
        await scene.flood(25, odd=False)
        told = await scene.told()
        assert told["excess"] == "records"
        assert 15 * MIB < int(told["bytes"]) <= 20 * MIB
        assert disk.free > 256 * MIB
        await scene.honest_work_arrives()
        shown = await asyncio.to_thread(a.ctl, "status", "docs")
        assert "Changes of rogue wait" in shown.out
        # Raised, it goes on where it stopped.
        await asyncio.to_thread(a.ctl, "record-budget", "docs", "--max", "1G")
        await scene.session.show([scene.member.author.head(decode_ticket(scene.ticket).volume)])
        await _until(lambda: not _excess(a), "the rest to come")
        await scene.honest_work_arrives()


async def test_records_under_unknown_keys_end_early_and_their_room_comes_back_with_the_removal(world: World) -> None:
    a, disk = device_on_small_disk(world, "a", 768 * MIB)
    async with flooded(world, a) as scene:
        await scene.flood(10, odd=True)
        told = await scene.told()
        assert told["excess"] == "not understood"
        assert int(told["strange_bytes"]) <= int(told["strange_max_bytes"]) <= 4 * MIB
        await scene.honest_work_arrives()
        for device in (scene.a, scene.b):
            await asyncio.to_thread(device.ctl, "record-budget", "docs", "--max", "10G")
        await scene.session.show([scene.member.author.head(decode_ticket(scene.ticket).volume)])
        await _until(lambda: not _excess(a), "the rest to come")
        await scene.flood(85, odd=True)
        index = next(a.state.glob("volumes/*/index.db"))
        free = disk.free
        await asyncio.to_thread(a.ctl, "members", "remove", "docs", "rogue")
        await _until(lambda: index.stat().st_size < 20 * MIB, "the index to get smaller")
        assert disk.free > free
        assert not any(each["bytes"] for each in a.volume_status("docs")["record_budgets"] if each["removed"])
        await scene.honest_work_arrives()


def _excess(device: Device) -> str:
    told = device.volume_status("docs")["record_budgets"]
    return "".join(each["excess"] for each in told if each["name"] == "rogue")
