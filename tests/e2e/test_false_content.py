# SPDX-License-Identifier: GPL-3.0-or-later
"""A member that lies about content, to real daemons and mounts: only what it wrote itself suffers."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from e2e.conftest import FAILED, LIMIT_S
from holofs_peer.v1 import peer_pb2 as pb
from holofsd.codec.ticket import decode_ticket
from holofsd.core.clock import MAX_WALL_MS
from holofsd.core.ids import Hlc, VolumeId
from holofsd.core.state import NodeState, Place, Register
from holofsd.net.api import Stream
from support.device import Device, World
from support.rogue import Rogue, Session, record, rogue
from support.trees import contents
from support.wait import until

LIMIT = 60.0
LARGE = 3_000_000


@pytest.fixture(scope="module")
def honest() -> Iterator[tuple[Device, Device]]:
    with World(limit_s=LIMIT_S * 4) as world:
        a, b = world.running("a", "b")
        for device in (a, b):
            device.allowed += [
                r"wrong content|content stream ended|quarantin|caught in a lie|another size|said again by us"
            ]
        yield a, b


NUMBERS = count()


@dataclass
class Scene:
    """A and B are honest; the rogue is a writer, in session with A."""

    a: Device
    b: Device
    here: Path
    there: Path
    volume: str
    id: VolumeId
    writer: Rogue
    session: Session

    async def publish(self, *states: NodeState) -> None:
        author = self.writer.author
        after = author.seq
        envelopes, head = author.publish(self.id, [record(state) for state in states])
        self.session.serve[author.id] = (sorted(author.newest.values(), key=lambda e: e.seq), head)
        await self.session.send_records(after, envelopes, head)
        await self.session.until(lambda: self.session.confirmed.get(author.id) == author.seq, "the records to be taken")

    def names(self, name: bytes, blob: bytes, size: int) -> NodeState:
        made = self.writer.file(name, b"", blob=blob)
        ((dot, version),) = made.versions.items()
        return replace(made, versions={dot: replace(version, size=size)})

    async def status(self, device: Device) -> dict[str, Any]:
        return await asyncio.to_thread(device.volume_status, self.volume)

    async def shows(self, expected: dict[str, bytes], *roots: Path) -> None:
        for root in roots or (self.here, self.there):
            await asyncio.to_thread(until, lambda root=root: contents(root) == expected, f"{root} to be right", LIMIT)

    async def until_told(self, device: Device, key: str, **expected: object) -> dict[str, Any]:
        """An entry of a list in the status of the volume on that device."""
        found: list[dict[str, Any]] = []

        def is_there() -> bool:
            told = device.volume_status(self.volume).get(key, [])
            found[:] = [entry for entry in told if all(entry.get(k) == v for k, v in expected.items())]
            return bool(found)

        await asyncio.to_thread(until, is_there, f"{key} of {device.name} to name {expected}", LIMIT)
        return found[0]


def sizes(root: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in root.iterdir()}


@asynccontextmanager
async def _scene(a: Device, b: Device, node: pytest.Item) -> AsyncIterator[Scene]:
    volume = f"docs{next(NUMBERS)}"
    await asyncio.to_thread(a.create, volume)
    await asyncio.to_thread(lambda: b.join(a.share(volume)))
    here, there = await asyncio.to_thread(a.mount, volume), await asyncio.to_thread(b.mount, volume)
    async with rogue() as writer:
        ticket = await asyncio.to_thread(a.share, volume)
        await writer.redeem(ticket)
        invite = decode_ticket(ticket)
        writer.certify(invite.volume)
        session = await writer.session(await writer.connect(invite), invite.volume)
        yield Scene(a, b, here, there, volume, invite.volume, writer, session)
    if node.stash.get(FAILED, False):
        print(a.world.logs())
    for device, path in ((a, here), (b, there)):
        await asyncio.to_thread(device.ctl, "unmount", "--force", path)  # whoever still looks at it


@pytest.fixture
async def scene(honest: tuple[Device, Device], request: pytest.FixtureRequest) -> AsyncIterator[Scene]:
    async with _scene(*honest, request.node) as made:
        yield made


@pytest.mark.parametrize("said", [10, LARGE + 1, 1 << 42], ids=["smaller", "larger", "larger than the disk"])
async def test_a_false_size_of_honest_content_harms_nothing_and_is_counted(scene: Scene, said: int) -> None:
    data = os.urandom(LARGE)
    blob = blake3(data).digest()
    await scene.publish(scene.names(b"before", blob, said))
    await asyncio.to_thread(scene.there.joinpath("real").write_bytes, data)
    await scene.publish(scene.names(b"after", blob, said))
    for root in (scene.here, scene.there):  # a program that reads by the size has no memory for the last of these
        await asyncio.to_thread(
            until, lambda root=root: sizes(root) == {"real": LARGE, "before": LARGE, "after": LARGE}, "sizes", LIMIT
        )
    await scene.shows({"real": data, "before": data, "after": data})
    for device in (scene.a, scene.b):
        lie = await scene.until_told(device, "lies", name="rogue")
        assert "another size" in lie["what"]
        status = await asyncio.to_thread(device.status)
        assert not any("wrong content" in warning for warning in status.get("warnings", []))
        assert not status["space"].get("refused", False)


@pytest.mark.parametrize("said", [1 << 61, 1 << 42], ids=["that no file can have", "beyond the disk"])
async def test_an_impossible_size_stops_nothing_else(scene: Scene, said: int) -> None:
    await scene.publish(scene.names(b"huge", blake3(b"huge").digest(), said))
    data = {f"file {number}": os.urandom(1000 * 4**number) for number in range(6)}
    for name, body in data.items():
        await asyncio.to_thread(scene.there.joinpath(name).write_bytes, body)
    await asyncio.to_thread(
        until, lambda: all(scene.here.joinpath(n).read_bytes() == d for n, d in data.items()), "the others", LIMIT
    )
    status = await asyncio.to_thread(scene.a.status)
    assert not any("disk" in warning for warning in status.get("warnings", []))

    def named() -> bool:
        shown = scene.a.ctl("status").out
        return "huge" in shown and "rogue" in shown

    await asyncio.to_thread(until, named, "status to name the file and who wrote it")


async def test_content_that_nobody_has_stops_no_wait_and_is_named(scene: Scene) -> None:
    await scene.publish(scene.names(b"nowhere", blake3(b"nowhere").digest(), 50_000))
    await asyncio.to_thread(scene.here.joinpath("file").write_bytes, os.urandom(50_000))
    await asyncio.to_thread(scene.a.ctl, "wait", "--copies", "1", "--timeout", "50", scene.volume)
    await scene.until_told(scene.a, "unavailable", name="rogue", why="no device in reach has its content")
    line = "nowhere (48.8 KiB, written by rogue)"
    await asyncio.to_thread(until, lambda: line in scene.a.ctl("status").out, "status to name the file")


async def test_a_reader_that_drips_keeps_a_file_from_nobody(scene: Scene) -> None:
    """A slow device is asked first, and would take hours; the reader has the content from the other device."""
    data = os.urandom(LARGE)
    blob = blake3(data).digest()
    given_up: list[bytes] = []

    async def drip(stream: Stream, get: pb.Get) -> None:
        try:
            for start in range(get.offset, len(data), 2000):
                piece = pb.Blob(id=get.id, data=data[start : start + 2000], size=len(data))
                await stream.send(pb.Frame(blob=piece).SerializeToString())
                await asyncio.sleep(0.5)
        finally:
            given_up.append(get.hash)

    scene.writer.answer = drip
    await scene.publish(scene.names(b"file", blob, LARGE))
    await scene.session.until(lambda: blob in scene.writer.asked, "the rogue to be asked")
    await asyncio.to_thread(scene.there.joinpath("same").write_bytes, data)
    assert await asyncio.wait_for(asyncio.to_thread(scene.here.joinpath("file").read_bytes), LIMIT) == data
    await scene.session.until(lambda: blob in given_up, "the slow stream to be given up")
    await scene.shows({"file": data, "same": data})


async def test_a_time_at_the_end_of_the_range_decides_nothing(scene: Scene) -> None:
    await asyncio.to_thread(scene.here.joinpath("file").write_bytes, b"what a wrote")
    await scene.shows({"file": b"what a wrote"})
    await scene.session.until(lambda: len(scene.session.heads) > 0, "what a has written")
    state = scene.writer.file(b"own", b"of the rogue")
    end = Hlc(MAX_WALL_MS, 2**32 - 1, scene.writer.author.id)
    ((link, placed),) = state.links.items()
    late = replace(placed, place=Place(placed.place.parent, b"late"), stamp=end)  # type: ignore[union-attr]
    await scene.publish(state)
    await scene.shows({"file": b"what a wrote", "own": b"of the rogue"})
    await scene.publish(replace(state, links={link: late}, mode=Register(0, end)))
    await asyncio.to_thread(scene.there.joinpath("own").rename, scene.there / "renamed")
    await asyncio.to_thread(scene.here.joinpath("file").chmod, 0o600)
    await scene.shows({"file": b"what a wrote", "renamed": b"of the rogue"})
    lie = await scene.until_told(scene.a, "lies", name="rogue")
    assert "200 years" in lie["what"]
