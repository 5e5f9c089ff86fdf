# SPDX-License-Identifier: GPL-3.0-or-later
"""The interface between HoloFS and any network: endpoint, connection, stream, and how they are configured.

Everything here is implemented twice, by `iroh_endpoint` and by `fake`, and one suite of tests runs on both. Errors are
`Unreachable` (connect), `ConnectionLost` (whatever is gone) and `ProtocolViolation` (a frame that breaks a limit).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Final, Protocol

from holofsd.core.ids import DeviceId
from holofsd.net.traffic import TrafficCounters

SESSION_ALPN: Final = b"holofs/1"
"""Sessions and content streams between members."""
CONTENT_ALPN: Final = b"holofs-content/1"
"""Content streams alone, beside a connection of the former kind."""
JOIN_ALPN: Final = b"holofs-join/1"
"""Redeeming an invite."""

ALPNS: Final = (SESSION_ALPN, JOIN_ALPN, CONTENT_ALPN)
"""All that a device answers to."""

ANY_RELAY: Final = "any"
DEFAULT_MAX_FRAME: Final = 4 * 1024 * 1024


class CloseCode(IntEnum):
    """Reason for which a connection or a stream ended, as the other side is told. Numbers are part of the protocol:
    append only."""

    LOST = -1  # never sent: the other side is silent, was killed, or the network is gone
    NORMAL = 0
    DUPLICATE = 1  # two connections between the same devices: this is the one that goes
    GOING_AWAY = 2  # this device is shutting down
    REFUSED = 3  # not a member, unknown volume, bad hello: one code for all, so that nothing is learned
    PROTOCOL = 4  # the other side broke the protocol
    SILENT = 5  # nothing was heard for too long
    INTERNAL = 6  # a defect here
    UNWANTED = 7  # nothing is shared with that device any more
    BUSY = 8  # too many connections or streams; try later


class Discovery(StrEnum):
    NONE = "none"  # nothing but the addresses given to `connect`
    DEFAULT = "default"  # publish and look up addresses by key; own network too


@dataclass(frozen=True, slots=True)
class NetConfig:
    """Settings of this device on the network. Durations are in seconds, sizes in bytes."""

    bind: str = ""
    """"ip:port", port 0 for any; empty: all interfaces. On a loopback address nothing leaves this machine."""
    last_sockets: tuple[str, ...] = ()
    """What `Endpoint.sockets` said before the last stop: taken again if free and if `bind` leaves the choice, so that
    devices which know each other's addresses from then meet again after all of them restarted."""
    discovery: Discovery = Discovery.DEFAULT
    relays: tuple[str, ...] = ()
    """URLs of one's own relays; empty: the public ones, or none if discovery is none."""
    allowed_relays: tuple[str, ...] = ()
    """URLs of others' relays that may be used to reach them; `ANY_RELAY`: whatever they name."""
    max_frame: int = DEFAULT_MAX_FRAME
    connect_timeout: float = 10.0
    beat_interval: float = 5.0
    """Each side sends a sign of life this often, on every connection."""
    dead_after: float = 15.0
    """A connection on which nothing was heard for this long is closed."""


@dataclass(frozen=True, slots=True)
class CloseReason:
    code: int
    reason: str = ""
    by_peer: bool = False
    """True if the peer closed it; False if we did, or if it was lost (`CloseCode.LOST`)."""


class Stream(Protocol):
    """Frames both ways, in order. Only an answer proves that something was delivered."""

    @property
    def connection(self) -> Connection: ...

    async def send(self, frame: bytes) -> None:
        """Sends one frame and waits while the other side does not read (back-pressure). Concurrent sends go out one
        after the other; a cancelled one still sends its whole frame, or none of it.

        Raises ConnectionLost, or ProtocolViolation if the frame is larger than `max_frame`.
        """

    async def receive(self, limit: int | None = None) -> bytes | None:
        """The next frame; None after the other side finished. Cancelling it (a time-out) loses nothing.

        `limit` lowers the greatest accepted frame, for a peer that has not proved yet that it is a member. Raises
        ConnectionLost if the stream was aborted, ended inside a frame, or the connection is gone; ProtocolViolation for
        a frame too large (the stream is aborted then). One receiver at a time.
        """

    async def finish(self) -> None:
        """No more frames from here: the other side receives what was sent and then None. Receiving goes on."""

    def abort(self, code: int) -> None:
        """Throws the stream away in both directions; idempotent, never waits. The other side sees ConnectionLost."""


class Connection(Protocol):
    """An encrypted connection to a device whose key is proven."""

    @property
    def peer(self) -> DeviceId: ...
    @property
    def alpn(self) -> bytes: ...
    @property
    def remote_address(self) -> str:
        """ "ip:port" now in use, "relay:<url>", or "" if unknown."""

    @property
    def round_trip(self) -> float | None:
        """Seconds that a packet and its answer take now, as the transport measures; None if it is not known."""

    @property
    def dialled(self) -> bool:
        """True if this side called `connect`."""

    @property
    def closed(self) -> bool: ...

    async def open_stream(self) -> Stream:
        """A new stream. The other side learns of it with the first frame sent. Raises ConnectionLost."""

    async def accept_stream(self) -> Stream:
        """The next stream that the other side opened. Cancelling loses nothing. Raises ConnectionLost when closed."""

    async def ping(self, timeout: float) -> float | None:
        """Seconds until the other side's process answered, None if it did not in time or the connection is closed."""

    def close(self, code: int, reason: str = "") -> None:
        """Closes at once, in both directions; what is not delivered yet may be lost. Idempotent."""

    async def wait_closed(self) -> CloseReason: ...


class Endpoint(Protocol):
    """This device on the network: connects to others and accepts their connections."""

    @property
    def device(self) -> DeviceId: ...
    @property
    def traffic(self) -> TrafficCounters: ...

    async def connect(self, peer: DeviceId, addresses: Sequence[str], alpn: bytes, relay_url: str = "") -> Connection:
        """Raises Unreachable, after `connect_timeout` at most."""

    async def accept(self) -> Connection:
        """The next incoming connection, handshake done, peer known. Raises ConnectionLost once the endpoint closed."""

    async def network_changed(self) -> None:
        """Returns when the network or our addresses changed since the last call returned. One waiter at a time."""

    def addresses(self) -> list[str]:
        """Lists the addresses where others can reach this device now: "ip:port", without wildcards."""

    def sockets(self) -> list[str]:
        """Lists the bound sockets, wildcards included; worth keeping for `NetConfig.last_sockets`."""

    def relay_url(self) -> str:
        """The home relay, "" if none."""

    def allow_relays(self, urls: Sequence[str]) -> None:
        """Takes the place of `NetConfig.allowed_relays` for connections from now on."""

    async def close(self) -> None:
        """Closes all connections with GOING_AWAY, then the sockets. Idempotent."""
