# SPDX-License-Identifier: GPL-3.0-or-later
"""Pings: how another device is reached, how long it takes to answer, and how fast its content comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Final

from holofs_peer.v1 import peer_pb2 as wire
from holofsd.core.errors import ConnectionLost, ProtocolViolation, Unreachable
from holofsd.core.ids import BlobHash, DeviceId
from holofsd.core.pacing import TrafficLane
from holofsd.net.api import CloseCode, Connection
from holofsd.rpc.device_api import PeerSummary
from holofsd.rpc.watching_api import PingReply
from holofsd.sync import frames
from holofsd.sync.hub import SyncHub
from holofsd.sync.session import open_stream
from holofsd.sync.volume import VolumeSync

PING_TIMEOUT_S: Final = 5.0
_GLANCE_S: Final = 0.5
"""Time for an answer where a person asks for something else, and waits."""
_FRESH_S: Final = 5.0
_RELAY: Final = "relay:"
_MEASURE_S: Final = 3.0
_MEASURE_BYTES: Final = 8 << 20
_LEAST_BYTES: Final = 1 << 20
"""Less tells nothing of a rate."""
_LOOKED_AT: Final = 1_000
"""Content files among which a large one is looked for."""


class RoundTrips:
    """Seconds that each connected device needs to answer, measured when a person looks, and at most every five seconds:
    one that is silent would hold up each of the looks."""

    def __init__(self, hub: SyncHub) -> None:
        self._hub = hub
        self._known: dict[Connection, tuple[float, float | None]] = {}
        """Loop time of the last measurement, and its result."""

    async def now(self) -> dict[DeviceId, float]:
        """Returns them by device; none of those that did not answer within half a second."""
        hub, clock = self._hub, asyncio.get_running_loop().time
        found = {status.device: hub.peers.connection(status.device) for status in hub.peer_status() if status.online}
        online = {connection: device for device, connection in found.items() if connection is not None}
        fresh = clock() - _FRESH_S
        self._known = {c: known for c, known in self._known.items() if c in online and known[0] > fresh}
        asked = [connection for connection in online if connection not in self._known]
        answers = await asyncio.gather(*(connection.ping(_GLANCE_S) for connection in asked))
        self._known.update((c, (clock(), seconds)) for c, seconds in zip(asked, answers, strict=True))
        told = ((device, self._known.get(connection)) for connection, device in online.items())
        return {device: known[1] for device, known in told if known is not None and known[1] is not None}


def path_of(address: str) -> str:
    """Says how a connection goes, by the address of its other end."""
    return "relay" if address.startswith(_RELAY) else "direct"


async def pings(hub: SyncHub, peer: PeerSummary, times: tuple[int, float], measure: bool) -> AsyncIterator[PingReply]:
    """One answer for each ping; with `measure` the last has the rate. Raises Unreachable where it is not connected.

    `times`: how many pings, and seconds between two.
    """
    count, pause_s = times
    device, name = DeviceId(bytes.fromhex(peer.device_id)), peer.name or peer.device_id[:8]
    for number in range(count):
        if number:
            await asyncio.sleep(pause_s)
        connection = hub.peers.connection(device)
        if connection is None:
            raise Unreachable(f"{name} is not connected: `holofsctl peers` says why.")
        seconds = await connection.ping(PING_TIMEOUT_S)
        measured = await _measured(hub, connection) if measure and number == count - 1 else (0, 0.0)
        # The network always tells of a relay. Of direct paths it may not: then the one that `peers` shows is told.
        address = connection.remote_address or peer.address
        yield _answer(peer.device_id, name, address, seconds, measured)


def _answer(device_id: str, name: str, address: str, seconds: float | None, measured: tuple[int, float]) -> PingReply:
    size, took = measured
    return PingReply(
        device_id=device_id,
        name=name,
        path=path_of(address),
        address=address.removeprefix(_RELAY),
        answered=seconds is not None,
        round_trip_us=int(seconds * 1e6) if seconds is not None else 0,
        throughput=int(size / took) if took else 0,
        measured_bytes=size,
    )


async def _measured(hub: SyncHub, connection: Connection) -> tuple[int, float]:
    """Bytes and seconds of content that was fetched again and thrown away; zeros where there is none large enough."""
    for sync in hub.volumes_shared_with(connection.peer):
        blob = _large(sync)
        if blob is not None:
            with suppress(ConnectionLost, ProtocolViolation, TimeoutError):
                return await _fetched(sync, connection, blob)
    return 0, 0.0


def _large(sync: VolumeSync) -> BlobHash | None:
    """The largest content that is here, so that the other device is likely to have it, too."""
    store = sync.volume.store
    found = [one for one in store.content.after(b"", _LOOKED_AT) if not store.bodies.is_body(one[0])]
    blob, size = max(found, key=lambda one: one[1], default=(None, 0))
    return blob if size >= _LEAST_BYTES else None


async def _fetched(sync: VolumeSync, connection: Connection, blob: BlobHash) -> tuple[int, float]:
    loop = asyncio.get_running_loop()
    stream = await connection.open_stream()
    try:
        hello = _hello(sync, connection.peer)
        await open_stream(stream, hello, sync.config.hello_timeout)
        await stream.send(frames.get(1, blob, 0))
        size, began = 0, loop.time()
        with suppress(TimeoutError):
            async with asyncio.timeout(_MEASURE_S):
                while size < _MEASURE_BYTES and (data := await stream.receive()) is not None:
                    await sync.limits.received(stream, len(data), TrafficLane.URGENT)
                    frame = frames.parse(data).blob
                    size += len(frame.data)
                    if frame.end or frame.missing:
                        break
        return size, loop.time() - began
    finally:
        stream.abort(CloseCode.NORMAL)


def _hello(sync: VolumeSync, peer: DeviceId) -> bytes:
    info, twins = sync.describe(), sync.twins
    proof, doubled = sync.members.proof(peer), twins.is_doubled(peer)
    purpose = wire.PURPOSE_CONTENT
    return frames.hello(sync.id, purpose, proof, info.name, sync.now_ms(), info.named_ms, twins.instance, doubled)
