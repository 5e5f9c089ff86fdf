# SPDX-License-Identifier: GPL-3.0-or-later
"""Large content between devices, in chunks: from several devices at once, on from where it stopped, and never wrong."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest
from blake3 import blake3

from holofsd.core.chunk_list import ChunkList
from holofsd.core.errors import ContentUnavailable
from holofsd.core.ids import ROOT_ID, BlobHash, DeviceId
from holofsd.core.state import Manifest
from holofsd.net.api import Stream
from holofsd.store import faults
from holofsd.sync import chunk_frames, frames, piece_receiving
from holofsd.sync.chunk_frames import ListRequest, PiecesRequest
from holofsd.sync.piece_serving import PieceServer
from tests.sync.devices import QUICK, Device, devices, settled, share, until

MIB = 1 << 20
FILM = blake3(b"a film").digest(30 * MIB)
CONTENTS = [FILM[: 5 * MIB], FILM, bytes(20 * MIB), FILM[: 3 * MIB] + bytes(9 * MIB) + FILM[:MIB]]
SMALL_SPAN = MIB
LISTS = replace(QUICK, lists=True)


class Asked(PieceServer):
    """Server of one device that notes which chunks it was asked for."""

    @classmethod
    def of(cls, device: Device) -> Asked:
        """Takes the place of the server that the device has."""
        server = cls(device.store.bodies, device.sync.server.turns, device.sync.care.suspect)
        server.chunks = Counter()
        device.sync.server._pieces = server
        return server

    chunks: Counter[int]

    async def get_pieces(self, stream: Stream, request: PiecesRequest, peer: DeviceId) -> None:
        self.chunks.update(request.chunks)
        await super().get_pieces(stream, request, peer)


class Together(Asked):
    """Server that sends chunks once two devices were asked for some."""

    asked: ClassVar[set[int]] = set()
    both: ClassVar[asyncio.Event]

    @classmethod
    def of(cls, device: Device) -> Asked:
        cls.asked, cls.both = set(), asyncio.Event()
        return super().of(device)

    async def get_pieces(self, stream: Stream, request: PiecesRequest, peer: DeviceId) -> None:
        self.asked.add(id(self))
        if len(self.asked) == 2:
            self.both.set()
        await self.both.wait()
        await super().get_pieces(stream, request, peer)


def cid_of(device: Device, name: str) -> BlobHash:
    entry = device.volume.tree.lookup(ROOT_ID, name.encode())
    assert entry is not None
    version = device.volume.tree.version_of(entry.node, entry.dot)
    assert version is not None
    assert isinstance(version.body, Manifest)
    return version.body.hash


def here_of(device: Device) -> int:
    """Counts the chunks of the film that a device has."""
    body = device.store.bodies.get(cid_of(device, "film"))
    return body.here if body is not None else 0


def list_of(device: Device, name: str = "film") -> ChunkList:
    return device.store.bodies.list_of(cid_of(device, name))


async def shot(ann: Device, *others: Device, data: bytes = FILM) -> None:
    """Ann has a film, and the others hear of it."""
    await share(ann, *others)
    ann.cuts = True
    ann.write("film", data)
    await settled(ann, *others)


@pytest.fixture
def small_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(piece_receiving, "FIRST_BYTES", SMALL_SPAN)
    monkeypatch.setattr(piece_receiving, "SPAN_BYTES", SMALL_SPAN)


# ---- between honest devices
@pytest.mark.parametrize("data", CONTENTS)
async def test_large_content_comes_in_chunks(tmp_path: Path, data: bytes) -> None:
    async with devices(tmp_path, "ann", "bob", config=LISTS) as (ann, bob):
        await shot(ann, bob, data=data)
        await until(lambda: bob.files() == {"film": data})
        assert bob.store.bodies.here(cid_of(bob, "film"))[0].stored is None
        assert not bob.store.content.path(cid_of(bob, "film")).exists()


async def test_a_program_that_waits_gets_it(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob", config=LISTS) as (ann, bob):
        await share(ann, bob)
        bob.hub.limits.background_waits = True
        await shot(ann, data=FILM[: 6 * MIB])
        await until(lambda: "film" in bob.files())
        assert bob.files() == {"film": None}
        await bob.sync.fetch(cid_of(bob, "film"), 6 * MIB, 20.0, is_list=True)
        assert bob.files() == {"film": FILM[: 6 * MIB]}


@pytest.mark.usefixtures("small_spans")
async def test_two_devices_bring_parts_of_one_content(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob", "cid", config=LISTS) as (ann, bob, cid):
        await shot(ann, bob)
        await until(lambda: bob.files() == {"film": FILM})
        first, second = Together.of(ann), Together.of(bob)
        await cid.join(ann.ticket())
        await until(lambda: cid.files() == {"film": FILM})
        assert set(first.chunks) | set(second.chunks) == set(range(list_of(ann).count))
        assert (first.chunks + second.chunks).total() < 1.5 * list_of(ann).count


@pytest.mark.usefixtures("small_spans")
async def test_fetching_goes_on_where_it_stopped(tmp_path: Path) -> None:
    known = 0

    def cut(_where: object) -> None:
        nonlocal known
        known += 1
        if known == 1:
            ann.network.partition(ann.id, bob.id)

    async with devices(tmp_path, "ann", "bob", config=LISTS) as (ann, bob):
        await share(ann, bob)
        with faults.armed("spans.known", cut):
            ann.cuts = True
            ann.write("film", FILM)
            await until(lambda: known)
            await until(lambda: not bob.sync.fetcher._trips)
        await bob.restart()
        body = bob.store.bodies.get(cid_of(bob, "film"))
        assert body is not None
        assert 0 < body.here < body.count
        asked = Asked.of(ann)
        ann.network.heal(ann.id, bob.id)
        await until(lambda: bob.files() == {"film": FILM})
        assert asked.chunks.total() <= body.count - body.here + 8


@pytest.mark.usefixtures("small_spans")
async def test_what_a_device_has_in_part_is_served(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob", "cid", config=LISTS) as (ann, bob, cid):
        await share(ann, bob, cid)
        ann.network.partition(ann.id, cid.id)
        with faults.armed("spans.known", lambda _where: ann.network.partition(ann.id, bob.id)):
            ann.cuts = True
            ann.write("film", FILM)
            await until(lambda: "film" in cid.files() and here_of(bob) and not bob.sync.fetcher._trips)
        cid_body = cid_of(bob, "film")
        here, _ = bob.store.bodies.here(cid_body)
        assert here.stored is not None
        count = list_of(ann).count
        had = {index for index in range(count) if here.has(index)}
        assert had
        await until(lambda: {i for i in range(count) if cid.store.bodies.here(cid_body)[0].has(i)} >= had)
        ann.network.heal_all()
        await until(lambda: bob.files() == cid.files() == {"film": FILM})


async def test_content_that_no_device_has_ends_a_wait_with_the_reason(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob", config=LISTS) as (ann, bob):
        await share(ann, bob)
        ann.hub.limits.background_waits = bob.hub.limits.background_waits = True
        await shot(ann, data=FILM[: 6 * MIB])
        await until(lambda: "film" in bob.files())
        cid = cid_of(bob, "film")
        with ann.store.db.transaction():
            change = ann.store.bodies.forget(cid)
        ann.store.bodies.unlink(change)
        with pytest.raises(ContentUnavailable):
            await bob.sync.fetch(cid, 6 * MIB, 2.0, is_list=True)
        assert bob.files() == {"film": None}


async def test_asking_for_it_as_for_a_blob_does_no_harm(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob", config=LISTS) as (ann, bob):
        await shot(ann, bob, data=FILM[: 6 * MIB])
        await until(lambda: bob.files() == {"film": FILM[: 6 * MIB]})
        source = bob.sync.fetcher._peers[ann.id]
        stream = await source.open_stream(0)
        await stream.send(frames.get(1, cid_of(bob, "film"), 0))
        answer = frames.parse(await stream.receive() or b"")
        assert answer.blob.missing
        assert ann.files() == {"film": FILM[: 6 * MIB]}
        assert ann.sync.care.damaged() == 0


# ---- a device that lies
class Lying(Asked):
    """Server that sends other bytes than it has."""

    def piece(self, data: bytes) -> bytes:
        return bytes(len(data))

    async def get_pieces(self, stream: Stream, request: PiecesRequest, peer: DeviceId) -> None:
        self.chunks.update(request.chunks)
        chunks = self._bodies.list_of(request.cid)
        for index in request.chunks:
            left = chunks.chunk(index).size
            while left:
                size = min(left, 1 << 18)
                left -= size
                await stream.send(chunk_frames.piece(request.id, index, bytes(size), left == 0))


class OtherList(Asked):
    """Server that sends a list of other content."""

    async def get_list(self, stream: Stream, request: ListRequest, peer: DeviceId) -> None:
        data = bytearray(self._bodies.list_of(request.cid).data)
        data[-20] ^= 1
        await stream.send(chunk_frames.list_part(request.id, bytes(data), True))


class EndlessList(Asked):
    async def get_list(self, stream: Stream, request: ListRequest, peer: DeviceId) -> None:
        data = self._bodies.list_of(request.cid).data
        await stream.send(chunk_frames.list_part(request.id, data, False))
        while True:
            await stream.send(chunk_frames.list_part(request.id, bytes(1 << 18), False))


class LargerList(Asked):
    """Server that says that the list is one of a terabyte."""

    async def get_list(self, stream: Stream, request: ListRequest, peer: DeviceId) -> None:
        size = 1 << 40
        header = b"HFL1\3" + (250_000).to_bytes(4, "big") + size.to_bytes(8, "big")
        await stream.send(chunk_frames.list_part(request.id, header + bytes(1000), False))


class NoList(Asked):
    async def get_list(self, stream: Stream, request: ListRequest, peer: DeviceId) -> None:
        await stream.send(chunk_frames.list_part(request.id, b"no list at all, and long enough", True))


class NoChunks(Asked):
    async def get_pieces(self, stream: Stream, request: PiecesRequest, peer: DeviceId) -> None:
        await stream.send(chunk_frames.piece_missing(request.id, request.chunks))


class Has(NoChunks):
    """Server that has nothing, and says that it has all."""

    async def ask(self, stream: Stream, number: int, cid: BlobHash, peer: DeviceId) -> None:
        await stream.send(chunk_frames.has(number, piece_receiving.ALL, 1))


class Silent(Asked):
    async def get_pieces(self, stream: Stream, request: PiecesRequest, peer: DeviceId) -> None:
        await asyncio.sleep(3600)


class OtherAnswer(Asked):
    async def get_pieces(self, stream: Stream, request: PiecesRequest, peer: DeviceId) -> None:
        await stream.send(chunk_frames.piece(request.id, request.chunks.start + 1, b"x", True))


LIARS = [Lying, OtherList, EndlessList, LargerList, NoList, NoChunks, Has, Silent, OtherAnswer]


@pytest.mark.parametrize("liar", LIARS)
async def test_content_comes_right_from_another_device(tmp_path: Path, liar: type[Asked]) -> None:
    async with devices(tmp_path, "ann", "mal", "cid", config=LISTS) as (ann, mal, cid):
        await shot(ann, mal)
        await until(lambda: mal.files() == {"film": FILM})
        server = liar.of(mal)
        await cid.join(ann.ticket())
        await until(lambda: cid.files() == {"film": FILM})
        if liar is Lying and server.chunks:
            assert cid.sync.fetcher.counts.wrong.get(mal.id)


@pytest.mark.parametrize("liar", [Lying, OtherList, NoList])
async def test_a_liar_alone_is_blamed_and_gives_nothing(tmp_path: Path, liar: type[Asked]) -> None:
    async with devices(tmp_path, "mal", "bob", config=LISTS) as (mal, bob):
        await share(mal, bob)
        liar.of(mal)
        await shot(mal)
        await until(lambda: bob.sync.fetcher.counts.wrong.get(mal.id))
        body = bob.store.bodies.get(cid_of(bob, "film"))
        assert body is None or body.here == 0


async def test_a_flipped_bit_is_found_and_its_chunk_alone_fetched_again(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob", config=LISTS) as (ann, bob):
        await shot(ann, bob)
        await until(lambda: bob.files() == {"film": FILM})
        asked = Asked.of(ann)
        flip(bob, 10 * MIB)
        cid = cid_of(bob, "film")
        async for _ in bob.sync.care.scrub(wait=True):
            pass
        await until(lambda: bob.files() == {"film": FILM})
        assert asked.chunks == {list_of(ann).at(10 * MIB): 1}
        assert bob.store.content.has(cid)
        assert bob.sync.care.damaged() == 0


def flip(device: Device, offset: int) -> None:
    """Changes a byte of the film where it lies."""
    bodies = device.store.bodies
    (extent,) = bodies.extents(cid_of(device, "film"), offset, 1)
    assert extent.segment is not None
    path = bodies.segments.path(extent.segment)
    assert path is not None
    path.chmod(0o600)
    with path.open("r+b") as file:
        file.seek(extent.source)
        byte = file.read(1)[0]
        file.seek(extent.source)
        file.write(bytes([byte ^ 1]))


@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.write_bytes(b"HFL1 and no more")])
async def test_a_list_that_is_gone_or_damaged_comes_again_and_its_chunks_stay(
    tmp_path: Path, spoil: Callable[[Path], object]
) -> None:
    async with devices(tmp_path, "ann", "bob", config=LISTS) as (ann, bob):
        await shot(ann, bob)
        await until(lambda: bob.files() == {"film": FILM})
        asked, cid = Asked.of(ann), cid_of(bob, "film")
        path = bob.store.bodies.files[1].path(cid.hex())
        path.chmod(0o600)
        spoil(path)
        bob.store.bodies._read.clear()
        async for _ in bob.sync.care.scrub(wait=True):
            pass
        await until(lambda: bob.files() == {"film": FILM})
        assert bob.sync.care.damaged() == 0
        assert not asked.chunks


async def test_a_device_whose_disk_altered_a_chunk_finds_it_when_it_is_told_so(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob", config=LISTS) as (ann, bob):
        await shot(ann, bob)
        await until(lambda: bob.files() == {"film": FILM})
        flip(ann, 10 * MIB)
        assert not await ann.sync.care.is_whole(cid_of(ann, "film"), ROOT_ID, thorough=True)
        await until(lambda: ann.files() == {"film": FILM})


async def test_small_files_are_not_held_up_by_a_film(tmp_path: Path) -> None:
    class Slow(Asked):
        async def get_pieces(self, stream: Stream, request: PiecesRequest, peer: DeviceId) -> None:
            await gate.wait()
            await super().get_pieces(stream, request, peer)

    gate = asyncio.Event()
    async with devices(tmp_path, "ann", "bob", config=LISTS) as (ann, bob):
        await share(ann, bob)
        Slow.of(ann)
        await shot(ann)
        await until(lambda: len(bob.sync.fetcher._trips) >= 3)
        for number in range(20):
            ann.write(f"small{number}", bytes([number]) * 10_000)
        await until(lambda: len([data for data in bob.files().values() if data]) == 20)
        gate.set()
        await until(lambda: bob.files()["film"] == FILM)
