# SPDX-License-Identifier: GPL-3.0-or-later
"""Words to the service manager (systemd: `Type=notify`, `WatchdogSec=`), by the protocol of sd_notify(3).

The watchdog is fed by the event loop: a loop that is blocked stops feeding it, and the service manager ends the daemon
and starts it again. Without a service manager nothing is said.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager, suppress

_FEEDS_PER_LIMIT = 3


class ServiceManager:
    """`environment` loses what was meant for this process alone, so that mounts do not speak for it."""

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        self._address = environment.pop("NOTIFY_SOCKET", "")
        limit, pid = environment.pop("WATCHDOG_USEC", ""), environment.pop("WATCHDOG_PID", "")
        is_ours = not pid or pid == str(os.getpid())
        self._limit_s = int(limit) / 1e6 if limit.isascii() and limit.isdigit() and is_ours else 0.0

    def notify(self, state: str) -> None:
        """Never waits, never fails: a service manager that does not listen is its own matter."""
        if not self._address.startswith(("/", "@")):
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.setblocking(False)
            sender.sendto(state.encode(), address)

    @asynccontextmanager
    async def told(self) -> AsyncIterator[None]:
        """The daemon answers; at the end it stops."""
        self.notify("READY=1")
        feeding = asyncio.create_task(self._feed(), name="holofs-watchdog") if self._limit_s else None
        try:
            yield
        finally:
            self.notify("STOPPING=1")
            if feeding is not None:
                feeding.cancel()
                await asyncio.wait((feeding,))

    async def _feed(self) -> None:
        while True:
            self.notify("WATCHDOG=1")
            await asyncio.sleep(self._limit_s / _FEEDS_PER_LIMIT)
