# SPDX-License-Identifier: GPL-3.0-or-later
"""A member that says anything at all, in a session and in what it signs: the session may end, and nothing else does."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import tracemalloc
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from hypothesis import given
from hypothesis import strategies as st

from fuzz.effort import effort
from fuzz.examples import DEVICE, FRAMES, NODES, POOLS, VOLUME, A, B
from fuzz.messages import altered, as_bytes, damaged
from holofs_peer.v1 import peer_pb2 as pb
from holofsd.codec.ticket import decode_ticket
from holofsd.core.errors import ConnectionLost
from holofsd.net.api import JOIN_ALPN
from holofsd.net.fake import FakeNetwork
from holofsd.sync import frames
from holofsd.sync.config import KEY_DEVICE, KEY_VOLUME
from holofsd.sync.invites import RedeemResult, redeem
from tests.sync.devices import QUICK, Device, devices, share, until
from tests.sync.rawpeer import Author, RawPeer

FLOOD_BYTES: Final = 24 << 20

OF_CONTENT = ("get", "blob", "hold", "held", "get_list", "list", "get_pieces", "piece", "ask", "has")
SPOKEN = [frame for frame in FRAMES if frame.WhichOneof("frame") not in (*OF_CONTENT, "welcome")]


@asynccontextmanager
async def scene() -> AsyncIterator[tuple[Device, Device, RawPeer, RedeemResult]]:
    """Two honest devices, and a member that is not; afterwards the two still agree on new work."""
    with tempfile.TemporaryDirectory() as folder:
        async with devices(Path(folder), "ann", "bob", network=FakeNetwork(), config=QUICK) as (ann, bob):
            await share(ann, bob)
            raw = RawPeer(ann.network, "raw")
            joined = await redeem(raw.endpoint, decode_ticket(ann.ticket()), "raw")
            try:
                yield ann, bob, raw, joined
                ann.write("honest", b"work")
                await until(lambda: "honest" in bob.names(), "honest work to arrive")
                await until(lambda: bob.heads() == ann.heads(), "both to hold the same records")
            finally:
                await raw.endpoint.close()


async def say(raw: RawPeer, said: Sequence[bytes]) -> None:
    """Send frames, until the other side has acted on them, or has had enough."""
    with contextlib.suppress(ConnectionLost, AssertionError):
        for data in said:
            await raw.send(data)
        await raw.send(frames.ping(4711, 0))
        await raw.hear("pong", limit=60)


@effort(20)
@given(st.lists(damaged(as_bytes(altered(SPOKEN, POOLS))), min_size=1, max_size=8))
async def test_any_frames_in_a_session(said: list[bytes]) -> None:
    async with scene() as (ann, _bob, raw, joined):
        await raw.session(ann.id, joined)
        await say(raw, said)


NODE_PAYLOADS = st.one_of(as_bytes(altered(NODES, POOLS)), damaged(as_bytes(altered(NODES, POOLS)))).map(
    lambda payload: (_id_of(payload), payload)
)
OTHER_PAYLOADS = st.one_of(
    st.tuples(st.just(KEY_DEVICE), damaged(as_bytes(altered([DEVICE], POOLS)))),
    st.tuples(st.just(KEY_VOLUME), damaged(as_bytes(altered([VOLUME], POOLS)))),
    st.tuples(st.binary(min_size=1, max_size=64), st.binary(max_size=100)),
)


@effort(25)
@given(st.lists(st.lists(st.one_of(NODE_PAYLOADS, NODE_PAYLOADS, OTHER_PAYLOADS), min_size=1, max_size=4), max_size=5))
async def test_any_payload_under_a_good_signature(publications: list[list[tuple[bytes, bytes]]]) -> None:
    """Records of a writer that mean nothing, or what no program of ours would say, are the same on every device.

    Each key is said once: who takes back what it said shows different things to those who heard it (docs/limits.md).
    """
    async with scene() as (ann, bob, raw, joined):
        author = Author(joined.volume)
        author.dots = 3
        await raw.session(ann.id, joined, author)
        known: set[bytes] = set()
        for records in publications:
            after = author.seq
            # In its own name, and in that of an honest device.
            said = [
                author.say_bytes(key or b"k" * 16, payload.replace(A, author.id).replace(B, ann.volume.author))
                for key, payload in _not_yet(known, records)
            ]
            if said:
                await say(raw, [frames.records(author.id, after, False, said, author.head())])
        await until(lambda: bob.heads() == ann.heads(), "what was accepted to reach the other device")
        # Not all content: what these records promise, nobody may have.
        await until(lambda: bob.names() == ann.names(), "both to show the same")


def _not_yet(known: set[bytes], records: list[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
    for key, payload in records:
        if key not in known:
            known.add(key)
            yield key, payload


def _id_of(payload: bytes) -> bytes:
    try:
        return pb.NodeRecord.FromString(payload).id
    except Exception:  # noqa: BLE001 - protobuf's own error has no stable type
        return b""


@effort(20)
@given(st.lists(damaged(as_bytes(altered(FRAMES, POOLS))), min_size=1, max_size=4), st.booleans())
async def test_any_first_words_of_a_stream(said: list[bytes], after_hello: bool) -> None:
    """A content stream, or one without a proper beginning."""
    async with scene() as (ann, _bob, raw, joined):
        connection = await raw.connect(ann.id)
        raw.stream = await connection.open_stream()
        hello = frames.hello(joined.volume, pb.PURPOSE_CONTENT, joined.credentials, "raw", 0)
        await say(raw, [hello, *said] if after_hello else said)


@effort(20)
@given(damaged(as_bytes(altered([pb.Redeem(protocol=1, volume=b"v" * 32, secret=b"s" * 16, device_name="x")], POOLS))))
async def test_any_request_to_be_let_in(said: bytes) -> None:
    async with scene() as (ann, _bob, raw, _joined):
        address = ann.network.at(ann.id).addresses()
        connection = await raw.endpoint.connect(ann.id, address, JOIN_ALPN)
        raw.stream = await connection.open_stream()
        with contextlib.suppress(ConnectionLost):
            await raw.send(said)
            async with asyncio.timeout(60):
                await raw.stream.receive()
        assert len(ann.sync.members.credentials.grants) == 3


@effort(4)
@given(altered(SPOKEN, POOLS))
async def test_a_flood_of_anything_costs_bounded_memory(frame: Any) -> None:
    """Sent as fast as it is taken, by somebody who reads nothing."""
    async with scene() as (ann, _bob, raw, joined):
        await raw.session(ann.id, joined)
        data = frame.SerializeToString()
        tracemalloc.start()
        try:
            with contextlib.suppress(ConnectionLost, TimeoutError):
                async with asyncio.timeout(2):
                    for _ in range(20_000):
                        await raw.send(data)
            assert tracemalloc.get_traced_memory()[1] < FLOOD_BYTES
        finally:
            tracemalloc.stop()
