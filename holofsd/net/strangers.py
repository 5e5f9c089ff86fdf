# SPDX-License-Identifier: GPL-3.0-or-later
"""Room for connections of devices that have not proved to be members of anything here.

There is little of it, all together and for each source (an address, or a relay), and it is never full: beyond the limit
the oldest connection on which nothing was said yet goes. So a crowd that says nothing keeps nobody out for longer than
a newcomer takes to speak, and a crowd at one source only pushes out itself. Members need no room here.
"""

from __future__ import annotations

from ipaddress import IPv6Address
from typing import Final

from holofsd.net.addresses import parse
from holofsd.net.api import CloseCode, Connection

MOST: Final = 32
MOST_OF_A_SOURCE: Final = 8
_V6_NETWORK: Final = 8
"""Bytes of an IPv6 address that say whose it is: one customer has all the rest."""


def source_of(address: str) -> str:
    """Key under which limits are counted for an address: an IPv4 address, an IPv6 network of 64 bits, or a relay."""
    parsed = parse(address)
    if parsed is None:
        return address
    ip = parsed[0]
    if isinstance(ip, IPv6Address):  # a socket for both versions shows IPv4 as a part of IPv6, which is one network
        ip = ip.ipv4_mapped or ip
    return str(ip) if ip.version == 4 else ip.packed[:_V6_NETWORK].hex()


class Strangers:
    def __init__(self, most: int = MOST, most_of_a_source: int = MOST_OF_A_SOURCE) -> None:
        self._most = most
        self._most_of_a_source = most_of_a_source
        self._inside: dict[Connection, str] = {}
        """The source of each, the oldest first."""
        self._heard: set[Connection] = set()
        self.turned_away = 0

    def __len__(self) -> int:
        return len(self._inside)

    def enter(self, connection: Connection) -> None:
        """Takes in a connection, and closes the one that has to go for it, if any."""
        source = source_of(connection.remote_address)
        of_source = [other for other, whence in self._inside.items() if whence == source]
        if len(of_source) >= self._most_of_a_source:
            self._turn_away(of_source)
        elif len(self._inside) >= self._most:
            self._turn_away([*self._inside])
        self._inside[connection] = source

    def heard(self, connection: Connection) -> None:
        """Notes that something readable came: silent connections go first."""
        if connection in self._inside:
            self._heard.add(connection)

    def leave(self, connection: Connection) -> None:
        """Takes out a connection that is closed, or whose device has proved to be a member. Idempotent."""
        self._inside.pop(connection, None)
        self._heard.discard(connection)

    def _turn_away(self, those: list[Connection]) -> None:
        goes = next((one for one in those if one not in self._heard), those[0])
        self.leave(goes)
        self.turned_away += 1
        goes.close(CloseCode.BUSY)
