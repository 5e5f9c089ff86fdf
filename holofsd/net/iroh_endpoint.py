# SPDX-License-Identifier: GPL-3.0-or-later
"""The real network: `api` on Iroh 1.x. The only module that imports iroh.

Rules learned by measurement (docs/development.md#rules-for-irohs-binding): a call whose result matters is never
cancelled, only calls of connections that are thrown away; incoming connections are always answered; errors have their
text in `message()`.
"""

from __future__ import annotations

import asyncio
import ctypes
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import structlog
from iroh import iroh_ffi

from holofsd.core.allowance import Allowance, Recent
from holofsd.core.errors import BadConfiguration, ConnectionLost, Unreachable
from holofsd.core.ids import DeviceId
from holofsd.net.addresses import dialable, is_companion, is_meant, sockets_again, sockets_for, usable
from holofsd.net.api import ALPNS, CloseCode, CloseReason, Discovery, NetConfig
from holofsd.net.connection import FramedConnection
from holofsd.net.keep import TaskSet
from holofsd.net.relays import KnownRelays
from holofsd.net.strangers import source_of
from holofsd.net.traffic import TrafficCounters

log = structlog.get_logger(__name__)

HANDSHAKE_LIMIT: Final = 10.0
MAX_HANDSHAKES: Final = 64
"""Incoming connections in handshake, beyond which the oldest one goes: an honest one takes no time."""
MAX_WAITING: Final = 64
"""Connections waiting for `accept`, beyond which more are refused."""
CALM_RATE: Final = 16.0
CALM_BURST: Final = 64.0
"""Handshakes a second, and at once, up to which none is looked at closely. Beyond, addresses have to be real..."""
SOURCE_RATE: Final = 8.0
SOURCE_BURST: Final = 32.0
"""... and each has so many handshakes."""
SOURCES: Final = 4096
CLOSE_LIMIT: Final = 1.5
"""Iroh waits up to 3 s for peers to acknowledge that we are gone; a shutdown should not."""

# What the binding raises: its own error, and another one for a panic inside.
IROH_ERRORS: Final = (iroh_ffi.IrohError, iroh_ffi.InternalError)


_PLACE_IN_SOURCE: Final = re.compile(r" \([^()]*\.rs:\d+(:\d+)?\)")


def message_of(error: BaseException) -> str:
    """Message of an Iroh error, without the places in Iroh's source that it names; the error's `str` is empty."""
    text = error.message() if isinstance(error, iroh_ffi.IrohError) else str(error)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return _PLACE_IN_SOURCE.sub("", lines[-1]) if lines else type(error).__name__


# ---- the repair of the generated binding ----
def fast_write(builder: Any, value: bytes) -> None:
    """Replaces `_UniffiRustBufferBuilder.write`, which copies byte by byte in Python (4 MB/s)."""
    size = len(value)
    with builder._reserve(size):
        if size:
            address = ctypes.addressof(builder.rbuf.data.contents) + builder.rbuf.len
            ctypes.memmove(address, bytes(value), size)


GENERATED_WRITE: Final = iroh_ffi._UniffiRustBufferBuilder.write
iroh_ffi._UniffiRustBufferBuilder.write = fast_write


# ---- raw streams and connections ----
class IrohRawStream:
    """Implements framing.RawStream."""

    def __init__(self, stream: iroh_ffi.BiStream) -> None:
        self._send = stream.send()
        self._receive = stream.recv()

    async def read(self, most: int) -> bytes:
        try:
            return bytes(await self._receive.read(most))
        except IROH_ERRORS as error:
            raise ConnectionLost(f"The stream is gone: {message_of(error)}.") from None

    async def write_all(self, data: bytes) -> None:
        try:
            await self._send.write_all(data)
        except IROH_ERRORS as error:
            raise ConnectionLost(f"The stream is gone: {message_of(error)}.") from None

    async def finish(self) -> None:
        try:
            await self._send.finish()
        except IROH_ERRORS as error:
            raise ConnectionLost(f"The stream is gone: {message_of(error)}.") from None

    async def reset(self, code: int) -> None:
        for end in (self._send.reset, self._receive.stop):
            try:
                await end(code)
            except IROH_ERRORS:
                log.debug("stream was gone before it could be aborted")


CLOSED_BY_PEER: Final = re.compile(
    r"closed by peer: (?:(?P<reason>.*) \(code (?P<code>\d+)\)|(?P<bare>\d+))", re.DOTALL
)


def parse_close(text: str) -> CloseReason:
    """Iroh tells the end of a connection as a text only; what we did not expect counts as lost."""
    match = CLOSED_BY_PEER.fullmatch(text)
    if match is None:
        return CloseReason(CloseCode.LOST, text)
    return CloseReason(int(match["code"] or match["bare"]), match["reason"] or "", by_peer=True)


class IrohRawConnection:
    """Implements connection.RawConnection."""

    def __init__(self, connection: iroh_ffi.Connection, bind: str = "", dialled: Sequence[str] = ()) -> None:
        self._connection = connection
        self._bind = bind
        self._reached_at = next(iter(dialled), "")
        self.remote_address()  # now the path is the one that was dialled

    async def open_raw(self) -> IrohRawStream:
        try:
            return IrohRawStream(await self._connection.open_bi())
        except IROH_ERRORS as error:
            raise ConnectionLost(f"The connection is gone: {message_of(error)}.") from None

    async def accept_raw(self) -> IrohRawStream:
        try:
            return IrohRawStream(await self._connection.accept_bi())
        except IROH_ERRORS as error:
            raise ConnectionLost(f"The connection is gone: {message_of(error)}.") from None

    def send_datagram(self, data: bytes) -> None:
        try:
            self._connection.send_datagram(data)
        except IROH_ERRORS as error:
            log.debug("datagram not sent", why=message_of(error))

    async def read_datagram(self) -> bytes:
        try:
            return bytes(await self._connection.read_datagram())
        except IROH_ERRORS as error:
            raise ConnectionLost(f"The connection is gone: {message_of(error)}.") from None

    def close_raw(self, code: int, reason: str) -> None:
        try:
            self._connection.close(code, reason.encode())
        except IROH_ERRORS as error:
            log.debug("connection was gone before it could be closed", why=message_of(error))

    async def closed_raw(self) -> CloseReason:
        try:
            return parse_close(await self._connection.closed())
        except IROH_ERRORS as error:
            return CloseReason(CloseCode.LOST, message_of(error))

    def round_trip(self) -> float | None:
        milliseconds = self._connection.rtt()
        return None if milliseconds is None else milliseconds / 1000

    def remote_address(self) -> str:
        """The address of the path in use. Iroh finds paths by itself: one that was not asked for is not shown."""
        paths = sorted(self._connection.paths(), key=lambda path: not path.is_selected)
        told = (f"relay:{path.remote_addr}" if path.is_relay else str(path.remote_addr) for path in paths)
        meant = (address for address in told if address.startswith("relay:") or is_meant(self._bind, address))
        self._reached_at = next(meant, self._reached_at)
        return self._reached_at


# ---- the endpoint ----
class _Changes(iroh_ffi.AddrChangeCallback):  # type: ignore[misc]
    """Told by the binding, on our loop, that our addresses may have changed.

    `watch_network_change` would say more, but in release 1.2 it calls back 3,000 times a second without any change.
    """

    def __init__(self, changed: asyncio.Event) -> None:
        self._changed = changed

    async def on_change(self, _address: object) -> None:
        self._changed.set()


class IrohEndpoint:
    """Implements `api.Endpoint`. Made by `bind_iroh`."""

    def __init__(self, endpoint: iroh_ffi.Endpoint, config: NetConfig) -> None:
        self._endpoint: Any = endpoint
        self._config = config
        self._device = DeviceId(bytes(endpoint.id().to_bytes()))
        self._relays = relays_of(config)
        self._connections: set[FramedConnection] = set()
        self._traffic = TrafficCounters()
        self._incoming: asyncio.Queue[FramedConnection | None] = asyncio.Queue()
        self._handshakes: dict[asyncio.Task[None], None] = {}
        """The oldest first."""
        self._calm = Allowance(CALM_RATE, CALM_BURST)
        self._sources: Recent[str, Allowance] = Recent(lambda: Allowance(SOURCE_RATE, SOURCE_BURST), SOURCES)
        self._tasks = TaskSet()
        self._changed = asyncio.Event()
        self._watch = endpoint.watch_addr(_Changes(self._changed))
        self._closing: asyncio.Task[None] | None = None
        self._known_place = self._place()
        self._tasks.spawn(self._accept_all())

    @property
    def device(self) -> DeviceId:
        return self._device

    @property
    def traffic(self) -> TrafficCounters:
        return self._traffic

    def addresses(self) -> list[str]:
        if self._closing is not None:
            return []
        found = usable(self._endpoint.addr().direct_addresses() or self.sockets())
        return [address for address in found if not is_companion(self._config.bind, address)]

    def sockets(self) -> list[str]:
        return [] if self._closing is not None else list(self._endpoint.bound_sockets())

    def relay_url(self) -> str:
        return "" if self._closing is not None else str(self._endpoint.addr().relay_url() or "")

    def allow_relays(self, urls: Sequence[str]) -> None:
        self._relays = relays_of(replace(self._config, allowed_relays=tuple(urls)))

    async def network_changed(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            place = self._place()
            if place != self._known_place:
                self._known_place = place
                return

    def _place(self) -> tuple[frozenset[str], str]:
        return frozenset(self.addresses()), self.relay_url()

    # ---- dialling ----
    async def connect(
        self, peer: DeviceId, addresses: Sequence[str], alpn: bytes, relay_url: str = ""
    ) -> FramedConnection:
        if self._closing is not None:
            raise Unreachable("This device's network is closed.")
        reachable = dialable(addresses, self._config.bind, self.addresses())
        if relay_url and not self._relays.may_be_used(relay_url):
            if not reachable and self._config.discovery is Discovery.NONE:
                raise Unreachable(
                    "The other device is reached by a relay that is none of this device's: the setting"
                    " network.allowed_relays (HOLOFS_ALLOWED_RELAYS) allows those of others."
                )
            log.debug("a relay that is not ours is not used", peer=peer.hex()[:8])
            relay_url = ""
        dialling = self._tasks.spawn(self._dial(peer, reachable, alpn, relay_url))
        try:
            await asyncio.wait((dialling,), timeout=self._config.connect_timeout)
        except asyncio.CancelledError:
            self._throw_away(dialling)
            raise
        if not dialling.done():
            self._throw_away(dialling)
            raise Unreachable(f"No answer from the other device within {self._config.connect_timeout:g} s.")
        if dialling.cancelled():
            raise Unreachable("This device's network is closed.")
        try:
            raw = dialling.result()
        except IROH_ERRORS as error:
            raise Unreachable(f"Cannot reach the other device: {message_of(error)}.") from None
        return self._adopt(raw, dialled=True, at=reachable)

    async def _dial(self, peer: DeviceId, addresses: list[str], alpn: bytes, relay_url: str) -> iroh_ffi.Connection:
        identity = iroh_ffi.EndpointId.from_bytes(bytes(peer))
        address = iroh_ffi.EndpointAddr(identity, relay_url or None, addresses)
        return await self._endpoint.connect(address, alpn)

    def _throw_away(self, dialling: asyncio.Task[iroh_ffi.Connection]) -> None:
        def close(task: asyncio.Task[iroh_ffi.Connection]) -> None:
            if not task.cancelled() and task.exception() is None:
                IrohRawConnection(task.result()).close_raw(CloseCode.NORMAL, "")

        dialling.cancel()
        dialling.add_done_callback(close)

    # ---- being dialled ----
    async def accept(self) -> FramedConnection:
        connection = await self._incoming.get()
        if connection is None:
            self._incoming.put_nowait(None)
            raise ConnectionLost("This device's network is closed.")
        return connection

    async def _accept_all(self) -> None:
        while (incoming := await self._endpoint.accept_next()) is not None:
            if self._incoming.qsize() >= MAX_WAITING:
                self._tasks.spawn(self._refuse(incoming))
                continue
            while len(self._handshakes) >= MAX_HANDSHAKES:
                oldest = next(iter(self._handshakes))
                del self._handshakes[oldest]
                oldest.cancel()
            task = self._tasks.spawn(self._greet(incoming))
            self._handshakes[task] = None
            task.add_done_callback(lambda task: self._handshakes.pop(task, None))

    async def _may_begin(self, incoming: iroh_ffi.Incoming) -> bool:
        """Whether to spend a handshake on it; answers it if not. Where many come, a source has to be one, and waits its
        turn: whoever sends from made-up addresses takes nothing from others."""
        clock = asyncio.get_running_loop().time
        if self._calm.take(1, clock()) == 0:
            return True
        self._calm.take(-1, clock())  # what is not let through costs the calm nothing
        if not await incoming.remote_addr_validated():
            await incoming.retry()
            return False
        source = self._sources.of(_source(await incoming.remote_addr()))
        if source.take(1, clock()) == 0:
            return True
        source.take(-1, clock())
        await incoming.refuse()
        return False

    async def _refuse(self, incoming: iroh_ffi.Incoming) -> None:
        try:
            await incoming.refuse()
        except IROH_ERRORS as error:
            log.debug("incoming connection not refused", why=message_of(error))

    async def _greet(self, incoming: iroh_ffi.Incoming) -> None:
        try:
            # On a time-out the half-made connection is thrown away, which also ends it for the other side.
            async with asyncio.timeout(HANDSHAKE_LIMIT):
                if not await self._may_begin(incoming):
                    return
                accepting = await incoming.accept()
                raw = await accepting.connect()
            connection = self._adopt(raw, dialled=False)
        except (*IROH_ERRORS, TimeoutError) as error:
            # Anybody can begin as many as they like: they do not fill the log.
            log.debug("an incoming connection failed in its handshake", why=message_of(error))
            return
        if self._closing is not None:
            connection.close(CloseCode.GOING_AWAY, "shutting down")
        else:
            self._incoming.put_nowait(connection)

    def _adopt(self, raw: iroh_ffi.Connection, *, dialled: bool, at: Sequence[str] = ()) -> FramedConnection:
        peer = DeviceId(bytes(raw.remote_id().to_bytes()))
        connection = FramedConnection(
            IrohRawConnection(raw, self._config.bind, at),
            peer,
            bytes(raw.alpn()),
            dialled,
            self._config,
            self._connections.discard,
        )
        connection.traffic = self._traffic.of(peer)
        self._connections.add(connection)
        self._tasks.spawn(self._without_one_way_streams(raw, connection))
        return connection

    @staticmethod
    async def _without_one_way_streams(raw: iroh_ffi.Connection, connection: FramedConnection) -> None:
        """The protocol has none, and what is sent on them would lie in memory unread."""
        try:
            raw.set_max_concurrent_uni_streams(0)  # counts for later ones; the first hundred were offered already
            await raw.accept_uni()
        except IROH_ERRORS:
            return  # the connection is closed
        connection.close(CloseCode.PROTOCOL, "a one-way stream")

    # ---- the end ----
    async def close(self) -> None:
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        owned = tuple(self._connections)
        for connection in owned:
            connection.close(CloseCode.GOING_AWAY, "shutting down")
        await self._watch.stop()
        closing = self._tasks.spawn(self._endpoint.close())
        await asyncio.wait((closing,), timeout=CLOSE_LIMIT)
        self._tasks.cancel()
        await self._tasks.all_ended()
        for connection in (*owned, *self._connections):
            connection.close(CloseCode.GOING_AWAY)
            await connection.all_ended()
        self._incoming.put_nowait(None)
        # The ports stay taken for as long as anything refers to the endpoint.
        self._endpoint = None


def _source(address: Any) -> str:
    """Source of a connection, from its `IncomingAddr`."""
    if address.is_IP():
        return source_of(str(address.addr))
    return f"relay:{address.url}" if address.is_RELAY() else str(address)


# ---- binding ----
def relays_of(config: NetConfig) -> KnownRelays:
    """The relays that this device uses itself, and those that it was allowed."""
    own = list(config.relays)
    if not own and config.discovery is Discovery.DEFAULT:
        own = [str(url) for url in iroh_ffi.RelayMode.default_mode().relay_map().urls()]
    return KnownRelays(own, config.allowed_relays)


async def bind_iroh(seed: bytes, config: NetConfig, alpns: Sequence[bytes] = ALPNS) -> IrohEndpoint:
    """Opens the sockets; works without any network. `seed` is the 32-byte secret of the node key.

    Raises BadConfiguration if the address or a relay cannot be used. Close the result explicitly.
    """
    # Callbacks come from threads of Rust, which have no loop of their own. The last binding wins: one loop per process.
    iroh_ffi.uniffi_set_event_loop(asyncio.get_running_loop())
    asked = sockets_for(config.bind)
    # The ports of the last time if they are free; what was asked for; one IP version, where the other is missing.
    attempts = dict.fromkeys((sockets_again(config.bind, config.last_sockets), asked, asked[:1]))
    why = ""
    for sockets in attempts:
        if not sockets and asked:
            continue
        try:
            return IrohEndpoint(await _bind(seed, config, alpns, sockets), config)
        except IROH_ERRORS as error:
            why = message_of(error)
    raise BadConfiguration(f"Cannot listen on {config.bind or 'the network'}: {why}.")


def _builder(seed: bytes, config: NetConfig, alpns: Sequence[bytes]) -> iroh_ffi.EndpointBuilder:
    builder = iroh_ffi.EndpointBuilder()
    if config.discovery is Discovery.DEFAULT:
        builder.apply_n0()
    else:
        builder.apply_minimal()
        builder.relay_mode(iroh_ffi.RelayMode.disabled())
    if config.relays:
        builder.relay_mode(iroh_ffi.RelayMode.custom_from_urls(list(config.relays)))
    builder.secret_key(seed)
    builder.alpns(list(alpns))
    return builder


async def _bind(seed: bytes, config: NetConfig, alpns: Sequence[bytes], sockets: Sequence[str]) -> iroh_ffi.Endpoint:
    builder = _builder(seed, config, alpns)
    for socket in sockets:
        builder.bind_addr(socket)
    return await builder.bind()
