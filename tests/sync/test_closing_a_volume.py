# SPDX-License-Identifier: GPL-3.0-or-later
"""Streams of a volume that is closed here: each of them ends first, wherever it is, and none uses the closed store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from holofs_peer.v1 import peer_pb2 as pb
from holofsd.codec.content import hash_bytes
from holofsd.codec.signing import SigningKey, sign_grant
from holofsd.codec.ticket import decode_ticket
from holofsd.core.document import Credentials, Role
from holofsd.core.errors import ConnectionLost
from holofsd.net.api import Stream
from holofsd.net.fake import FakeNetwork
from holofsd.sync import frames, members
from holofsd.sync.invites import redeem
from tests.sync.devices import Device, devices, until
from tests.sync.rawpeer import RawPeer


@asynccontextmanager
async def closing(folder: Path) -> AsyncIterator[tuple[Device, RawPeer]]:
    """Device with a volume, and a peer that speaks frame by frame. No task of either may fail."""
    with capture_logs() as logged:
        async with devices(folder, "ann", network=FakeNetwork()) as (ann,):
            ann.create()
            yield ann, RawPeer(ann.network, "raw")
    failed = [line for line in logged if line["event"] == "a task failed"]
    assert not failed, failed


async def close_volume(device: Device) -> None:
    """Close as `daemon.volumes` does. The connections stay, as those of devices that share another volume."""
    device.hub._wire = lambda: None  # type: ignore[method-assign]
    await device.hub.remove(device.sync.id)
    device.store.close()
    device.volume_id = None


async def _opened(raw: RawPeer, device: Device, purpose: pb.Purpose.ValueType, shown: Credentials) -> Stream:
    connection = raw.connection or await raw.connect(device.id)
    stream = await connection.open_stream()
    await stream.send(frames.hello(device.sync.id, purpose, shown, "raw", 0))
    return stream


async def _ended(stream: Stream) -> None:
    async with asyncio.timeout(30):
        with pytest.raises(ConnectionLost):
            while await stream.receive() is not None:
                pass
            raise ConnectionLost("It was finished.")


async def test_a_device_that_is_being_looked_at_when_the_volume_closes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looking, may_end = asyncio.Event(), asyncio.Event()
    verified = members.verified

    async def slow(*arguments: Any) -> Credentials:
        looking.set()
        await may_end.wait()
        return await verified(*arguments)

    async with closing(tmp_path) as (ann, raw):
        grant = sign_grant(SigningKey(ann.secret), ann.sync.id, raw.id, Role.WRITER, 1, "raw")
        monkeypatch.setattr(members, "verified", slow)
        stream = await _opened(raw, ann, pb.PURPOSE_SESSION, Credentials((grant,)))
        await asyncio.wait_for(looking.wait(), 30)
        await close_volume(ann)
        may_end.set()
        await _ended(stream)


@pytest.mark.parametrize("question", ["get", "hold", "nothing"])
async def test_a_content_stream_that_is_open_when_the_volume_closes(tmp_path: Path, question: str) -> None:
    asked = {
        "get": frames.get(1, hash_bytes(b"x"), 0),
        "hold": frames.hold(1, [hash_bytes(b"x")]),
        "nothing": pb.Frame().SerializeToString(),
    }[question]
    async with closing(tmp_path) as (ann, raw):
        joined = await redeem(raw.endpoint, decode_ticket(ann.ticket()), "raw")
        stream = await _opened(raw, ann, pb.PURPOSE_CONTENT, joined.credentials)
        await asyncio.wait_for(stream.receive(), 30)  # its welcome
        await close_volume(ann)
        with pytest.raises(ConnectionLost):
            await stream.send(asked)
            await _ended(stream)
            raise ConnectionLost("It was refused.")


async def test_a_session_that_is_being_opened_when_the_volume_closes(tmp_path: Path) -> None:
    async with closing(tmp_path) as (ann, raw):
        joined = await redeem(raw.endpoint, decode_ticket(ann.ticket()), "raw")
        await raw.session(ann.id, joined)
        await until(lambda: ann.sync.is_connected(raw.id))
        await close_volume(ann)
        assert raw.stream is not None
        await _ended(raw.stream)
