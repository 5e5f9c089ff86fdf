# SPDX-License-Identifier: GPL-3.0-or-later
"""Cost of a member that sends small frames: it waits for its own excess, and no other device does."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from holofs_peer.v1 import peer_pb2 as pb
from holofsd.codec import wire
from holofsd.codec.signing import sign_mark
from holofsd.codec.ticket import decode_ticket
from holofsd.core.document import Credentials, Grant, Head, Role
from holofsd.core.errors import ConnectionLost
from holofsd.core.ids import AuthorId, BlobHash, DeviceId
from holofsd.net.api import Stream
from holofsd.net.fake import FakeNetwork
from holofsd.sync import frames, marks, volume
from holofsd.sync.config import MAX_HASHES, MAX_HEADS, SyncConfig
from holofsd.sync.dealings import Dealings
from holofsd.sync.invites import RedeemResult, redeem
from support.extremes import HOSTILE_TEXT
from tests.sync.devices import QUICK, Device, devices, settled, share, until
from tests.sync.rawpeer import RawPeer

SHORT = replace(QUICK, again_rate=1.0, again_burst=1000.0)
"""After a thousand bytes of what was sent before, hardly any more of it."""


@asynccontextmanager
async def reader(
    folder: Path, config: SyncConfig = QUICK
) -> AsyncIterator[tuple[Device, Device, RawPeer, RedeemResult]]:
    """Two honest devices in session, and a reader that is up to something."""
    async with devices(folder, "ann", "bob", network=FakeNetwork(), config=config) as (ann, bob):
        await share(ann, bob)
        raw = RawPeer(ann.network, "raw")
        joined = await redeem(raw.endpoint, decode_ticket(ann.ticket(Role.READER)), "raw")
        try:
            yield ann, bob, raw, joined
            ann.write("after all", os.urandom(10_000))
            await settled(ann, bob)
        finally:
            await raw.endpoint.close()


async def _told_of(raw: RawPeer, author: AuthorId) -> int:
    """Pages of that author until a ping is answered twice: records go out after everything else."""
    pages = 0
    for number in (901, 902, 903):
        await raw.send(frames.ping(number, 0))
        while True:
            assert raw.stream is not None
            data = await asyncio.wait_for(raw.stream.receive(), 30)
            assert data is not None
            frame = pb.Frame.FromString(data)
            pages += frame.WhichOneof("frame") == "records" and frame.records.author == author
            if frame.WhichOneof("frame") == "pong" and frame.pong.id == number:
                break
    return pages


async def test_records_that_a_device_had_go_out_slowly_and_others_have_theirs_at_once(tmp_path: Path) -> None:
    async with reader(tmp_path, SHORT) as (ann, bob, raw, joined):
        for number in range(20):
            ann.write(f"file {number}", b"x" * 1000)
        await settled(ann, bob)
        await raw.session(ann.id, joined)
        author = ann.volume.author
        await raw.send(frames.want(author, 0, True))
        assert await _told_of(raw, author) == 1
        await raw.send(frames.want(author, 0, True))
        assert await _told_of(raw, author) == 1, "the allowance is not used up yet"
        for _ in range(50):
            await raw.send(frames.want(author, 0, True))
        assert await _told_of(raw, author) == 0
        # Also after it came back: dealings are with the device, not with its session.
        assert raw.stream is not None
        raw.stream.abort(0)
        await raw.session(ann.id, joined)
        await raw.send(frames.want(author, 0, True))
        assert await _told_of(raw, author) == 0
        ann.write("news", b"1")
        await settled(ann, bob)
        await raw.send(frames.want(author, 0, True))


async def test_authors_that_nobody_knows_are_not_remembered(tmp_path: Path) -> None:
    async with reader(tmp_path) as (ann, _bob, raw, joined):
        await raw.session(ann.id, joined)
        for number in range(1000):
            await raw.send(frames.want(AuthorId(number.to_bytes(32, "big")), 0, True))
        await raw.send(frames.ping(7, 0))
        await raw.hear("pong")
        assert len(ann.sync.sessions[raw.id].outgoing._serving) <= 1


async def _content(raw: RawPeer, ann: Device, joined: RedeemResult) -> Stream:
    assert raw.connection is not None
    stream = await raw.connection.open_stream()
    await stream.send(frames.hello(joined.volume, pb.PURPOSE_CONTENT, joined.credentials, "raw", 0))
    assert pb.Frame.FromString(await stream.receive() or b"").WhichOneof("frame") == "welcome"
    return stream


async def _blob(stream: Stream, number: int, blob: BlobHash, limit: float, offset: int = 0) -> bool:
    await stream.send(frames.get(number, blob, offset))
    try:
        async with asyncio.timeout(limit):
            while not pb.Frame.FromString(await stream.receive() or b"").blob.end:
                pass
    except TimeoutError:
        return False
    return True


async def test_content_that_a_device_had_comes_slowly_and_other_content_at_once(tmp_path: Path) -> None:
    async with reader(tmp_path, SHORT) as (ann, bob, raw, joined):
        ann.write("large", os.urandom(300_000))
        ann.write("other", os.urandom(300_000))
        await settled(ann, bob)
        first, second = (BlobHash(row[0]) for row in ann.store.db.all("SELECT hash FROM content"))
        await raw.session(ann.id, joined)
        stream = await _content(raw, ann, joined)
        assert await _blob(stream, 1, first, 30)
        assert not await _blob(stream, 2, first, 0.3)
        assert await _blob(await _content(raw, ann, joined), 3, second, 30)


async def test_the_rest_of_a_large_file_comes_at_once_after_its_connection_broke(tmp_path: Path) -> None:
    config = replace(QUICK, again_rate=1.0, again_burst=4e6)
    async with reader(tmp_path, config) as (ann, _bob, raw, joined):
        ann.write("large", os.urandom(12_000_000))
        (blob,) = (BlobHash(row[0]) for row in ann.store.db.all("SELECT hash FROM content"))
        await raw.session(ann.id, joined)
        stream = await _content(raw, ann, joined)
        await stream.send(frames.get(1, blob, 0))
        got = len(pb.Frame.FromString(await stream.receive() or b"").blob.data)
        stream.abort(0)
        assert 0 < got < 1_000_000
        assert await _blob(await _content(raw, ann, joined), 2, blob, 40, got)


def test_dealings_with_an_honest_device_never_wait() -> None:
    dealings, now = Dealings(SyncConfig()), 0.0
    # Ten thousand files in pages, each a blob, live news of eight writers at ten publications a second for an hour.
    for number in range(40):
        dealings.page_sent(AuthorId(b"a" * 32), number * 250, number * 250 + 250, 256 << 10, now)
        assert dealings.page_wait(now) == 0
    for number in range(10_000):
        assert dealings.piece_wanted(BlobHash(number.to_bytes(32, "big")), 0, 1 << 20, now) == 0
    for _ in range(5 * 20):  # five streams for each of twenty volumes
        assert dealings.opened(now) == 0
    for _ in range(3600 * 10):
        now += 0.1
        for _ in range(8 * 3):
            assert dealings.talked(2, now) == 0


def test_a_large_file_goes_on_at_once_where_a_connection_broke() -> None:
    dealings, blob, size, piece = Dealings(SyncConfig()), BlobHash(b"b" * 32), 100 << 30, 1 << 20
    reached = 0
    while reached < size:
        start = max(0, reached - (4 << 20))  # what was under way is asked for again
        reached = min(start + (3 << 30), size)  # and then the connection breaks once more
        for at in range(start, reached, piece):
            assert dealings.piece_wanted(blob, at, min(at + piece, size), 0.0) == 0
    assert dealings.page_wait(0.0) == 0


def test_what_was_sent_before_waits_by_the_piece() -> None:
    dealings, blob, piece = Dealings(replace(SyncConfig(), again_rate=1000.0, again_burst=10_000.0)), b"b" * 32, 10_000
    sent = [BlobHash(blob), BlobHash(b"c" * 32), BlobHash(b"e" * 32)]
    assert [dealings.piece_wanted(one, 0, piece, 0.0) for one in sent] == [0, 0, 0]
    assert dealings.piece_wanted(sent[0], 0, piece, 0.0) == 0
    assert dealings.piece_wanted(sent[0], 5000, 2 * piece, 0.0) == 5
    assert dealings.piece_wanted(sent[0], 2 * piece, 3 * piece, 0.0) == 0
    assert dealings.piece_wanted(sent[1], piece, piece, 0.0) == pytest.approx(9.096), "nothing costs something"


async def test_a_flood_of_small_frames_waits_for_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    acted_on = 0
    pong = frames.pong

    def counted(number: int, clock_ms: int) -> bytes:
        nonlocal acted_on
        acted_on += number == 77
        return pong(number, clock_ms)

    monkeypatch.setattr(frames, "pong", counted)
    config = replace(QUICK, talk_rate=10.0, talk_burst=100.0)
    async with reader(tmp_path, config) as (ann, bob, raw, joined):
        await raw.session(ann.id, joined)
        assert raw.stream is not None
        one = frames.ping(77, 0)
        flood = (len(one).to_bytes(4, "big") + one) * 20_000
        await raw.stream._raw.write_all(flood)  # type: ignore[attr-defined]
        ann.write("meanwhile", b"1")
        await until(lambda: bob.files().get("meanwhile") == b"1")
        assert 0 < acted_on < 1000, "most of the flood still waits"


async def test_marks_of_one_device_cost_one_signature_a_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0

    def verify(volume: object, mark: object) -> bool:
        nonlocal calls
        calls += 1
        return True

    monkeypatch.setattr(marks, "verify_mark", verify)
    async with reader(tmp_path) as (ann, _bob, raw, joined):
        await raw.session(ann.id, joined)
        before = calls
        many = [sign_mark(raw.key, joined.volume, at_ms, []) for at_ms in range(1, 500)]
        await raw.send(frames.marks(many))
        await raw.send(frames.ping(7, 0))
        await raw.hear("pong")
        assert calls - before <= 2  # and perhaps one of bob's
        assert ann.sync.marks._marks[raw.id].at_ms == 499


async def test_credentials_that_come_again_are_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with reader(tmp_path) as (ann, _bob, raw, joined):
        await raw.session(ann.id, joined)
        read = 0
        real = wire.from_credentials

        def counted(message: pb.Credentials) -> Credentials:
            nonlocal read
            read += 1
            return real(message)

        monkeypatch.setattr(wire, "from_credentials", counted)
        await raw.send(frames.ping(6, 0))
        await raw.hear("pong")
        before = read
        for _ in range(50):
            await raw.send(frames.credentials(joined.credentials))
        await raw.send(frames.ping(7, 0))
        await raw.hear("pong")
        assert read - before < 20  # and what ann and bob tell each other


async def test_heads_of_authors_that_there_are_not_are_not_looked_at_again_with_each_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with reader(tmp_path) as (ann, _bob, raw, joined):
        await raw.session(ann.id, joined)
        made_up = [Head(AuthorId(n.to_bytes(32, "big")), 1, 1, b"s" * 32, b"f" * 64) for n in range(4000)]
        await raw.send(frames.have(made_up, first=False))
        await raw.send(frames.ping(6, 0))
        await raw.hear("pong")
        calls, real = 0, ann.sync.ingest.claim

        def counted(head: Head, source: object) -> tuple[int, bool] | None:
            nonlocal calls
            calls += 1
            return real(head, source)

        monkeypatch.setattr(ann.sync.ingest, "claim", counted)
        for _ in range(20):
            await raw.send(frames.have([], first=False))
        await raw.send(frames.ping(7, 0))
        await raw.hear("pong")
        assert calls < 200, "and those are of authors that there are"


async def test_false_heads_of_an_author_that_is_folded_cost_one_signature_a_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0

    def verify(volume_id: object, head: object) -> bool:
        nonlocal calls
        calls += 1
        return False

    monkeypatch.setattr(volume, "verify_head", verify)
    async with reader(tmp_path) as (ann, _bob, raw, joined):
        await raw.session(ann.id, joined)
        mine = ann.volume.author
        many = [Head(mine, 1000 + number, 1, b"s" * 32, b"f" * 64) for number in range(500)]
        await raw.send(frames.have([], first=False, folded=many))
        await raw.send(frames.ping(7, 0))
        await raw.hear("pong")
        assert calls == 1


async def test_forged_credentials_in_a_session_end_it_in_words(tmp_path: Path) -> None:
    async with reader(tmp_path) as (ann, _bob, raw, joined):
        await raw.session(ann.id, joined)
        forged = Grant(DeviceId(b"d" * 32), Role.ADMIN, 1, joined.volume, "forged", b"f" * 64)
        await raw.send(frames.credentials(Credentials(grants=(forged,))))
        assert await raw.is_thrown_out()
        assert ann.sync.violations[raw.id] == 1


# ---- numbers and names
@pytest.mark.parametrize("clock_ms", [0, 2**62, 2**63 - 1, 2**64 - 1])
async def test_a_clock_that_shows_anything_breaks_no_status(tmp_path: Path, clock_ms: int) -> None:
    async with reader(tmp_path) as (ann, _bob, raw, joined):
        connection = await raw.connect(ann.id)
        raw.stream = await connection.open_stream()
        hello = pb.Hello(protocol=1, volume=joined.volume, purpose=pb.PURPOSE_SESSION, clock_ms=clock_ms)
        hello.device_name, hello.named_ms = HOSTILE_TEXT * 1000, clock_ms
        await raw.send(pb.Frame(hello=hello).SerializeToString())
        await raw.hear("welcome")
        ping = (await raw.hear("ping")).ping
        await raw.send(frames.pong(ping.id, clock_ms))
        await until(lambda: any(one.clock_ahead_ms is not None for one in _reports(ann, raw)))
        (report,) = _reports(ann, raw)
        assert report.clock_ahead_ms is not None
        assert abs(report.clock_ahead_ms) < 2**53
        assert report.name.isprintable()
        assert len(report.name) <= 200


def _reports(ann: Device, raw: RawPeer) -> list:  # type: ignore[type-arg]
    return [one for one in ann.sync.status().devices if one.device == raw.id]


@pytest.mark.parametrize(
    "frame",
    [
        pb.Frame(want=pb.Want(author=b"a" * 32, after=2**64 - 1)),
        pb.Frame(want=pb.Want(author=b"a" * 32, after=2**63)),
        pb.Frame(records=pb.Records(author=b"a" * 32, after=2**64 - 1)),
        pb.Frame(records=pb.Records(author=b"a" * 100_000)),
        pb.Frame(confirm=pb.Confirm(author=b"a" * 32, seq=2**64 - 1)),
        pb.Frame(confirm=pb.Confirm(author=b"a" * 100_000, seq=1)),
        pb.Frame(bye=pb.Bye(code=2**32 - 1, reason=HOSTILE_TEXT * 10_000)),
        pb.Frame(have=pb.Have(folded=[pb.Head(author=b"a" * 32)] * (MAX_HEADS + 1))),
    ],
    ids=lambda frame: str(frame.WhichOneof("frame")),
)
async def test_a_number_out_of_range_ends_that_session_in_words(tmp_path: Path, frame: pb.Frame) -> None:
    async with reader(tmp_path) as (ann, _bob, raw, joined):
        await raw.session(ann.id, joined)
        await raw.send(frame.SerializeToString())
        assert await raw.is_thrown_out()
        assert ann.sync.violations[raw.id] == 1


@pytest.mark.parametrize(
    "frame",
    [
        pb.Frame(get=pb.Get(id=2**64 - 1, hash=b"h" * 32, offset=2**64 - 1)),
        pb.Frame(get=pb.Get(id=1, hash=b"h" * 60_000)),
        pb.Frame(hold=pb.Hold(id=1, hashes=[b"h" * 32] * (MAX_HASHES + 1))),
        pb.Frame(hold=pb.Hold(id=1, hashes=[b"/../" * 1000])),
    ],
    ids=lambda frame: str(frame.WhichOneof("frame")),
)
async def test_a_request_out_of_range_ends_that_stream_in_words(tmp_path: Path, frame: pb.Frame) -> None:
    async with reader(tmp_path) as (ann, _bob, raw, joined):
        await raw.session(ann.id, joined)
        stream = await _content(raw, ann, joined)
        await stream.send(frame.SerializeToString())
        with pytest.raises(ConnectionLost):
            await stream.receive()
        assert ann.sync.violations[raw.id] == 1


def test_chunks_come_at_once_in_any_order_until_all_were_sent_and_then_slowly() -> None:
    dealings, cid, whole = Dealings(SyncConfig()), BlobHash(b"c" * 32), 8 << 30
    for _ in range(whole // (1 << 20)):
        assert dealings.chunk_wanted(cid, whole, 1 << 20, 0.0) == 0
    waits = [dealings.chunk_wanted(cid, whole, 1 << 20, 0.0) for _ in range(2048)]
    assert waits[-1] > 0
    assert dealings.chunk_wanted(BlobHash(b"d" * 32), whole, 1 << 20, 0.0) == 0
