# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeping a session of a volume alive over a connection, whichever side opens it, and one only per device.

Both sides may open; usually the one that dialled does, at once. If both did, the stream opened by the device with the
lower key stays.
"""

from __future__ import annotations

import asyncio

import structlog

from holofs_peer.v1 import peer_pb2 as pb
from holofsd.core.errors import ConnectionLost, HoloError, ProtocolViolation
from holofsd.core.ids import DeviceId
from holofsd.net.api import CloseCode, Connection, Stream
from holofsd.sync import frames
from holofsd.sync.content_connections import Supplier
from holofsd.sync.session import Dismissed, Session, open_stream
from holofsd.sync.volume import VolumeSync

log = structlog.get_logger(__name__)

COURTESY = 0.3
"""Seconds for which the side that was dialled leaves the opening to the other one."""
STABLE = 10.0


async def keep_session(sync: VolumeSync, connection: Connection) -> None:
    """Opens a session and opens it again when it ended, as long as the connection and both memberships last."""
    pause = sync.config.session_retry
    if not connection.dialled:
        await asyncio.sleep(COURTESY)
    while not connection.closed and not sync.closed and _shared(sync, connection.peer):
        current = sync.sessions.get(connection.peer)
        if current is not None and current.stream.connection is connection:
            await current.ended.wait()
            pause = sync.config.session_retry
            await asyncio.sleep(COURTESY)
            continue
        started = asyncio.get_running_loop().time()
        try:
            await _open(sync, connection)
        except ConnectionLost as error:
            log.debug("session ended", peer=connection.peer.hex()[:8], why=error.message)
        except ProtocolViolation as error:
            sync.violation(connection.peer, error.message)
        if asyncio.get_running_loop().time() - started > STABLE:
            pause = sync.config.session_retry
        await asyncio.sleep(pause)
        pause = min(pause * 2, sync.config.retry_most)


def _shared(sync: VolumeSync, peer: DeviceId) -> bool:
    return sync.role is not None and sync.members.is_member(peer)


async def _open(sync: VolumeSync, connection: Connection) -> None:
    stream = await connection.open_stream()
    try:
        sent_ms = sync.now_ms()
        answer = await open_stream(stream, _hello(sync, pb.PURPOSE_SESSION, connection.peer), sync.config.hello_timeout)
        session = Session(sync, stream, sync.new_outgoing(connection.peer), connection.peer, opened_here=True)
        session.clock.measured(answer.clock_ms, sent_ms, sync.now_ms())
        sync.on_greeting(connection.peer, answer)
        sync.twins.met(connection.peer, answer.instance, answer.doubled)
        await converse(sync, session)
    except ProtocolViolation:
        stream.abort(CloseCode.PROTOCOL)
        raise
    except Dismissed as farewell:
        await sync.dismissed(farewell.credentials)
        raise
    finally:
        stream.abort(CloseCode.NORMAL)


def _hello(sync: VolumeSync, purpose: int, peer: DeviceId) -> bytes:
    info, twins = sync.describe(), sync.twins
    proof, doubled = sync.members.proof(peer), twins.is_doubled(peer)
    greeting = info.name, sync.now_ms(), info.named_ms, twins.instance, doubled, info.features
    return frames.hello(sync.id, purpose, proof, *greeting)


async def accept_session(sync: VolumeSync, stream: Stream, hello: frames.Greeting) -> None:
    """A member said hello. Raises ConnectionLost, ProtocolViolation."""
    if len(sync.sessions) >= sync.config.sessions_most and stream.connection.peer not in sync.sessions:
        stream.abort(CloseCode.BUSY)
        return
    info, peer = sync.describe(), stream.connection.peer
    sync.twins.met(peer, hello.instance, hello.doubled)
    doubled = sync.twins.is_doubled(peer)
    greeting = info.name, sync.now_ms(), info.named_ms, sync.twins.instance, doubled, info.features
    await stream.send(frames.welcome(*greeting))
    sync.on_greeting(peer, hello)
    session = Session(sync, stream, sync.new_outgoing(peer), peer, opened_here=False)
    session.clock.measured(hello.clock_ms, None, sync.now_ms())
    await converse(sync, session)


async def converse(sync: VolumeSync, session: Session) -> None:
    """Runs a session as the one of its volume and device."""
    if not await _become_the_one(sync, session):
        session.close(CloseCode.DUPLICATE)
        return
    connection = session.stream.connection
    connections = sync.fetcher.connections_of(connection)

    async def open_content(number: int) -> Stream:
        with connections.opening():
            stream = await connections.open_stream(number)
            try:
                await open_stream(stream, _hello(sync, pb.PURPOSE_CONTENT, connection.peer), sync.config.hello_timeout)
            except BaseException as error:
                stream.abort(CloseCode.NORMAL)
                if isinstance(error, HoloError):
                    connections.failed(stream.connection)
                raise
            return stream

    sync.marks.met(session.peer)
    source = Supplier(connections, open_content)
    unsubscribe = connections.subscribe(sync.fetcher.look_again)
    sync.fetcher.add_peer(session.peer, source)
    log.info("session begins", volume=sync.id.hex()[:8], peer=session.peer.hex()[:8], opened_here=session.opened_here)
    try:
        await session.run()
    finally:
        session.ended.set()
        if sync.sessions.get(session.peer) is session:
            del sync.sessions[session.peer]
        unsubscribe()
        sync.fetcher.remove_peer(session.peer, source)
        sync.ingest.give_up(session)
        sync.marks.notify()
        sync.on_session_end()
        log.info("session ends", volume=sync.id.hex()[:8], peer=session.peer.hex()[:8])


async def _become_the_one(sync: VolumeSync, session: Session) -> bool:
    """Both sides must decide alike where both opened a stream on the same connection."""
    current = sync.sessions.get(session.peer)
    if current is not None and not current.ended.is_set():
        same = current.stream.connection is session.stream.connection
        if same and current.opened_here != session.opened_here and _opened_by_lower(sync, current):
            return False
        current.close(CloseCode.DUPLICATE)
        await current.ended.wait()
    # The former one has ended, and may not have taken itself out yet.
    if sync.closed or not _shared(sync, session.peer) or sync.sessions.get(session.peer) not in (None, current):
        return False
    sync.sessions[session.peer] = session
    return True


def _opened_by_lower(sync: VolumeSync, session: Session) -> bool:
    return session.opened_here == (sync.members.device < session.peer)
