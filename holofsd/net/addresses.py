# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses as strings "ip:port" ("[ip]:port" for IPv6), which may come from outside and be anything."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from typing import Final

from holofsd.core.errors import BadConfiguration

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

MAX_ADDRESSES: Final = 24
"""More addresses of one device than this are not tried."""
_THIS_NETWORK: Final = ipaddress.ip_network("0.0.0.0/8")
_PRIVATE: Final = tuple(
    ipaddress.ip_network(network)
    for network in (
        *("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "127.0.0.0/8"),
        *("fc00::/7", "fe80::/10", "::1/128"),
    )
)
"""Networks whose addresses no router of the internet passes on."""
_FIRST_FREE_PORT: Final = 1024
_QUIC_PORT: Final = 443


def parse(address: str) -> tuple[IpAddress, int] | None:
    """None if it is no address."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isascii() or not port.isdecimal() or int(port) > 65535:
        return None
    bracketed = host.startswith("[") and host.endswith("]")
    try:
        ip = ipaddress.ip_address(host[1:-1] if bracketed else host)
    except ValueError:
        return None
    return (ip, int(port)) if bracketed == (ip.version == 6) else None


def usable(addresses: Iterable[str]) -> list[str]:
    """Addresses of one machine each, wherever it is: unicast, with a port; each once, in their order, not too many."""
    result: dict[str, None] = {}
    for address in addresses:
        parsed = parse(address)
        if parsed is not None and parsed[1] > 0 and _is_unicast(parsed[0]):
            result[address] = None
            if len(result) == MAX_ADDRESSES:
                break
    return list(result)


def _is_unicast(ip: IpAddress) -> bool:
    """Whether one machine can be there. Reserved is IPv4's broadcast, and so are IPv6's ways to write an IPv4 address.

    An IPv6 address that is good on one link alone says nothing to another machine, with or without its scope.
    """
    if ip.is_loopback:
        return True
    if ip.version == 6 and (ip.scope_id is not None or ip.is_link_local):
        return False
    return not (ip.is_unspecified or ip.is_multicast or ip.is_reserved or ip in _THIS_NETWORK)


def dialable(addresses: Iterable[str], bind: str, own: Sequence[str]) -> list[str]:
    """Addresses, of those that another device names, to which this device sends anything.

    `own`: where this device listens itself. An address of the machine itself, or of a link without a router, means
    something only to a device that has one, too. A port below 1024 is another service's (QUIC's own is allowed).
    """
    mine = [found[0] for found in map(parse, own) if found is not None]
    is_local, is_linked = any(ip.is_loopback for ip in mine), any(ip.is_link_local for ip in mine)
    found = []
    for address in usable(addresses):
        ip, port = parse(address) or (None, 0)
        if ip is None or not is_meant(bind, address) or (port < _FIRST_FREE_PORT and port != _QUIC_PORT):
            continue
        if (ip.is_loopback and not is_local) or (ip.is_link_local and not is_linked):
            continue
        found.append(address)
    return found


def network_of(address: str) -> str:
    """Key under which attempts to dial an address are counted: the machine, or the /64 that a machine of IPv6 has for
    itself."""
    parsed = parse(address)
    if parsed is None:
        return address
    ip = parsed[0]
    return str(ipaddress.ip_network((int(ip), 64), strict=False)) if ip.version == 6 else str(ip)


def is_near(address: str, own: Iterable[str]) -> bool:
    """Whether an address is in the local network: a private one, or one of IPv6 in the same /64 as one of our own."""
    parsed = parse(address)
    if parsed is None:  # a relay, or not known
        return False
    ip = getattr(parsed[0], "ipv4_mapped", None) or parsed[0]
    if any(ip.version == network.version and ip in network for network in _PRIVATE):
        return True
    return ip.version == 6 and network_of(address) in {network_of(mine) for mine in own}


def sockets_again(bind: str, last: Iterable[str]) -> tuple[str, ...]:
    """The sockets of the last time, if binding them keeps to what `bind` asks for; else none.

    Raises BadConfiguration.
    """
    asked = [found for found in map(parse, sockets_for(bind) or ("0.0.0.0:0", "[::]:0")) if found is not None]
    again = dict(filter(None, map(parse, last)))
    if asked[0][1] != 0 or any(ip not in again for ip, _ in asked):
        return ()
    return tuple(render(ip, again[ip]) for ip, _ in asked)


def render(ip: IpAddress, port: int) -> str:
    return f"[{ip}]:{port}" if ip.version == 6 else f"{ip}:{port}"


def sockets_for(bind: str) -> tuple[str, ...]:
    """The socket addresses to bind for one that a person gave, so that nothing is opened that was not meant.

    Iroh opens a socket for each IP version, on all interfaces for the one that is not named: a specific address of one
    version therefore comes with the loopback of the other. Raises BadConfiguration.
    """
    if not bind:
        return ()
    parsed = parse(bind)
    if parsed is None:
        raise BadConfiguration(f"Cannot listen on {bind!r}: give an address like 127.0.0.1:0 or [::1]:4000.")
    ip, _ = parsed
    if ip.is_unspecified:
        return (bind,)
    return (bind, "[::1]:0" if ip.version == 4 else "127.0.0.1:0")


def is_companion(bind: str, address: str) -> bool:
    """Whether this is the loopback address where we listen only because Iroh would listen everywhere otherwise."""
    asked, found = parse(bind), parse(address)
    if asked is None or found is None or asked[0].is_unspecified:
        return False
    return found[0].is_loopback and found[0].version != asked[0].version


def is_meant(bind: str, address: str) -> bool:
    """Whether another device's address is one that `bind` asks for: of the same IP version, and on this machine only if
    `bind` is."""
    asked, found = parse(bind), parse(address)
    if asked is None or asked[0].is_unspecified:
        return True
    if found is None or found[0].version != asked[0].version:
        return False
    return found[0].is_loopback == asked[0].is_loopback
