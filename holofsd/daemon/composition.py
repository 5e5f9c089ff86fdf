# SPDX-License-Identifier: GPL-3.0-or-later
"""The composition root: everything of a running device, from the stores up to the socket, and down again in reverse.

Tests use it with another `bind` (a fake network) and other settings.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from holofsd.codec.signing import SigningKey
from holofsd.daemon import state_folder
from holofsd.daemon.config import Config
from holofsd.daemon.device import Device
from holofsd.daemon.mounts import MountSupervisor
from holofsd.daemon.vitals import now_ms
from holofsd.daemon.volumes import Settings, Volumes
from holofsd.fs.settings import FsSettings
from holofsd.net.api import Endpoint, NetConfig
from holofsd.net.iroh_endpoint import bind_iroh
from holofsd.rpc.server import serving
from holofsd.store.device import DeviceStore
from holofsd.sync.config import SyncConfig
from holofsd.sync.hub import SyncHub

Bind = Callable[[bytes, NetConfig], Awaitable[Endpoint]]

DEFAULT: Settings = Settings(SyncConfig(), FsSettings())


@asynccontextmanager
async def running(
    config: Config, stop: asyncio.Event, *, bind: Bind = bind_iroh, settings: Settings = DEFAULT
) -> AsyncIterator[Device]:
    """A device that answers on its socket. The caller holds the lock of the state directory.

    `stop` is set when somebody asks for the daemon's end. Mounts outlive it.
    """
    state = config.state
    async with AsyncExitStack() as stack:
        # Stores, and who we are.
        store = DeviceStore(state)
        stack.callback(store.close)
        node_key = SigningKey(state_folder.device_seed(state))
        copied = state_folder.was_copied(state)

        # The network. Binding takes milliseconds and works without any network; nothing below waits for it.
        endpoint = await bind(node_key.seed, config.net)
        stack.push_async_callback(endpoint.close)
        hub = SyncHub(endpoint, node_key, config.device_name, store, now_ms, settings.sync)
        stack.push_async_callback(hub.close)

        # Managers.
        volumes = Volumes(state, store, node_key, config.device_name, hub.describe, hub, settings)
        stack.push_async_callback(volumes.close)
        await volumes.open_all(copied)
        state_folder.remember_fingerprint(state)
        mounts = MountSupervisor(store, state, volumes.name_of)
        stack.push_async_callback(mounts.close)
        device = Device(config, store, endpoint, hub, volumes, mounts, stop.set)
        stack.push_async_callback(device.joiner.close)

        # The socket, then what needs somebody to answer on it (mounts), then the others.
        await stack.enter_async_context(serving(device, config.socket))
        mounts.start()
        networking = asyncio.create_task(hub.run(), name="hub")
        stack.push_async_callback(_ended, networking)
        device.joiner.start()
        yield device


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
