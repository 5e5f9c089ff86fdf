# SPDX-License-Identifier: GPL-3.0-or-later
"""Devices find each other on the same local network by multicast DNS, without internet and without any server.

What is announced is a hash of the node key and where it listens, so that only who knows the key already recognises it.
Anybody may announce anything: what is learned are addresses to try, and the connection proves who is there.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import structlog
from zeroconf import Error as ZeroconfError
from zeroconf import InterfaceChoice, IPVersion, ServiceStateChange, Zeroconf
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

from holofsd.core.ids import DeviceId
from holofsd.net.addresses import parse, usable
from holofsd.net.api import Endpoint
from holofsd.net.keep import TaskSet

log = structlog.get_logger(__name__)

SERVICE: Final = "_holofs._udp.local."
ADDRESS_KEYS: Final = ("a0", "a1", "a2", "a3")
"""TXT entries, each an "ip:port": the two IP versions listen on different ports."""
MAX_SEEN: Final = 256
RENEW: Final = 5.0
"""Seconds between looks at whether our addresses, or the devices that are wanted, changed."""
RETRY: Final = 30.0
ASK_LIMIT_MS: Final = 3000


def instance_of(device: DeviceId) -> str:
    """The name under which a device is announced."""
    return hashlib.blake2b(device, digest_size=16, person=b"holofs-lan-1").hexdigest()


class LanDiscovery:
    """`wanted` says whom to look out for; `appeared(device, addresses)` is called when one of them shows up."""

    def __init__(
        self,
        endpoint: Endpoint,
        wanted: Callable[[], Iterable[DeviceId]],
        appeared: Callable[[DeviceId, Sequence[str]], None],
        interfaces: Sequence[str] | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._wanted = wanted
        self._appeared = appeared
        self._interfaces = interfaces
        self._own = instance_of(endpoint.device)
        self._seen: dict[str, tuple[str, ...]] = {}
        self._told: set[DeviceId] = set()
        self._tasks = TaskSet()

    async def run(self) -> None:
        """Announces and listens until cancelled. A machine without multicast only goes without this."""
        while True:
            try:
                await self._until_moved(_local(self._endpoint.addresses()))
            except (OSError, ZeroconfError) as error:
                log.info("local network discovery is not available now", why=str(error))
                await asyncio.sleep(RETRY)

    async def _until_moved(self, addresses: tuple[str, ...]) -> None:
        """Runs on the network interfaces of now; zeroconf does not follow when they change."""
        responder = AsyncZeroconf(
            interfaces=list(self._interfaces) if self._interfaces is not None else InterfaceChoice.Default,
            ip_version=IPVersion.V4Only,
        )
        try:
            if addresses:
                # No probing for a unique name: a hash of a key is one, and copies of a device may share it.
                await responder.async_register_service(self._service(addresses), cooperating_responders=True)
            browser = AsyncServiceBrowser(responder.zeroconf, SERVICE, handlers=[self._changed])
            try:
                while _local(self._endpoint.addresses()) == addresses:
                    self._tell()
                    await asyncio.sleep(RENEW)
            finally:
                await browser.async_cancel()
        finally:
            self._tasks.cancel()
            await self._tasks.all_ended()
            await responder.async_close()

    def _service(self, addresses: tuple[str, ...]) -> AsyncServiceInfo:
        parsed = [found for found in map(parse, addresses) if found is not None]
        return AsyncServiceInfo(
            SERVICE,
            f"{self._own}.{SERVICE}",
            server=f"{self._own}.local.",
            port=parsed[0][1],
            addresses=[ip.packed for ip, _ in parsed],
            properties=dict(zip(ADDRESS_KEYS, addresses, strict=False)),
        )

    def _changed(self, zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange) -> None:
        """Called by zeroconf, on our loop; the names of the arguments are its own."""
        instance = name.removesuffix(f".{service_type}")
        if state_change is ServiceStateChange.Removed:
            self._seen.pop(instance, None)
            self._told.difference_update(device for device in tuple(self._told) if instance_of(device) == instance)
        elif instance != self._own:
            self._tasks.spawn(self._ask(zeroconf, name, instance))

    async def _ask(self, zeroconf: Zeroconf, name: str, instance: str) -> None:
        service = AsyncServiceInfo(SERVICE, name)
        await service.async_request(zeroconf, ASK_LIMIT_MS)
        texts = (service.properties.get(key.encode()) for key in ADDRESS_KEYS)
        addresses = _local(usable(text.decode(errors="replace") for text in texts if text))
        if addresses and (instance in self._seen or len(self._seen) < MAX_SEEN):
            self._seen[instance] = addresses
            self._told.difference_update(device for device in tuple(self._told) if instance_of(device) == instance)
            self._tell()

    def _tell(self) -> None:
        """Tells of devices that are here and wanted, each once until it is announced anew."""
        wanted = set(self._wanted())
        self._told &= wanted
        for device in wanted - self._told:
            if (addresses := self._seen.get(instance_of(device))) is not None:
                self._told.add(device)
                log.debug("device found on the local network", peer=device.hex()[:8])
                self._appeared(device, addresses)


def _local(addresses: Iterable[str]) -> tuple[str, ...]:
    """Picks the addresses that make sense on a local network: an announcement must not make us send anywhere else."""
    found = ((address, parse(address)) for address in addresses)
    near = sorted(address for address, parsed in found if parsed is not None and parsed[0].is_private)
    return tuple(near[: len(ADDRESS_KEYS)])
