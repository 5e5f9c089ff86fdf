# SPDX-License-Identifier: GPL-3.0-or-later
"""The composition root: everything of a running device, from the stores up to the socket, and down again in reverse.

Tests use it with another `bind` (a fake network) and other settings.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Final

from holofsd.codec.signing import SigningKey
from holofsd.core.ids import DeviceId
from holofsd.daemon import logging as log_setup
from holofsd.daemon import state_folder
from holofsd.daemon.backups import Backups
from holofsd.daemon.config import Config
from holofsd.daemon.device import Device
from holofsd.daemon.fsck_device import open_device_store
from holofsd.daemon.loop_watch import LoopWatch
from holofsd.daemon.metrics.place import MetricsPlace
from holofsd.daemon.metrics.snapshot import Sources, Take
from holofsd.daemon.mounts import MountSupervisor
from holofsd.daemon.same_machine import SameMachine
from holofsd.daemon.settings import DeviceSettings
from holofsd.daemon.vitals import now_ms
from holofsd.daemon.volumes import Volumes, VolumeSettings
from holofsd.fs.settings import FsSettings
from holofsd.net.api import Discovery, Endpoint, NetConfig
from holofsd.net.iroh_endpoint import bind_iroh
from holofsd.rpc.server import serving
from holofsd.store.device import DeviceStore
from holofsd.store.threads import end_threads
from holofsd.sync.config import SyncConfig
from holofsd.sync.hub import SyncHub
from holofsd.sync.tasks import Tasks

Bind = Callable[[bytes, NetConfig], Awaitable[Endpoint]]

_SOCKETS: Final = "sockets"
"""Meta value: where the endpoint listened last."""
LISTS: Final = "HOLOFS_LISTS"
"""Variable: set to anything, large content gets lists of chunks (`SyncConfig.lists`)."""
DEFAULT: VolumeSettings = VolumeSettings(SyncConfig(), FsSettings())


def settings_from(environment: Mapping[str, str]) -> VolumeSettings:
    """The settings of volumes, as the variables for tests say."""
    return VolumeSettings(SyncConfig(lists=bool(environment.get(LISTS))), FsSettings())


@asynccontextmanager
async def running(
    config: Config,
    stop: asyncio.Event,
    *,
    bind: Bind = bind_iroh,
    settings: VolumeSettings = DEFAULT,
    watch: LoopWatch | None = None,
) -> AsyncIterator[Device]:
    """A device that answers on its socket. The caller holds the lock of the state directory.

    `stop` is set when somebody asks for the daemon's end. Mounts outlive it. `watch`: over this loop, for the metrics.
    """
    state = config.state
    async with AsyncExitStack() as stack:
        # The last to end: threads may have work of whatever is below.
        stack.push_async_callback(end_threads)

        # Settings, stores, and who we are.
        chosen = config.settings or DeviceSettings(state, {}, os.environ)
        chosen.keep()
        store = open_device_store(state)
        stack.callback(store.close)
        node_key = SigningKey(state_folder.device_seed(state))
        copied = state_folder.was_copied(state)
        place = stack.enter_context(state_folder.StateFolder(state))

        # The network. Binding takes milliseconds and works without any network; nothing below waits for it.
        endpoint = await bind(node_key.seed, replace(config.net, last_sockets=_last_sockets(store)))
        stack.push_async_callback(endpoint.close)
        _remember_sockets(store, endpoint)
        chosen.apply_with(
            "network.allowed_relays", lambda: endpoint.allow_relays(chosen.urls("network.allowed_relays"))
        )
        chosen.apply_with("log.level", lambda: log_setup.set_level(chosen.text("log.level")))
        hub = SyncHub(endpoint, node_key, config.device_name, store, now_ms, settings.sync)
        stack.push_async_callback(hub.close)

        # Managers.
        volumes = Volumes(state, store, node_key, hub.describe, hub, settings)
        stack.push_async_callback(volumes.close)
        stack.callback(hub.peers.go_away)
        mounts = MountSupervisor(store, state, volumes.name_of)
        stack.push_async_callback(mounts.close)
        mounts.start()
        await volumes.open_all(copied)
        state_folder.remember_fingerprint(state)
        device = Device(replace(config, settings=chosen), store, endpoint, hub, volumes, mounts, stop.set)
        stack.push_async_callback(device.joiner.close)

        # The socket, then what waits for somebody to answer on it (mounts), then the others.
        await stack.enter_async_context(serving(device, config.socket, place.require))
        mounts.serving()
        tasks = Tasks("daemon")
        stack.push_async_callback(tasks.close)
        tasks.spawn(hub.run(), "hub")
        tasks.spawn(device.keeper.run(), "traffic")
        tasks.spawn(SameMachine(hub.device, state, hub.twins.found_here, hub.twins.gone_here).run(), "same machine")
        tasks.spawn(Backups(state, volumes.directories, volumes.damaged).run(), "backups")
        if config.net.discovery is Discovery.DEFAULT:
            tasks.spawn(_local_network(endpoint, hub), "local network")
        device.joiner.start()
        stack.push_async_callback(device.noted.close)  # before the server stops: its streams end by themselves
        stack.push_async_callback(device.window.close)
        chosen.apply_with("window.port", device.window.port_changed)
        if config.metrics_port is not None:
            sources = Sources(state, device.list_volumes, volumes, mounts, device.keeper.status, device.peers)
            device.metrics = stack.enter_context(_metrics(config.metrics_port, sources.take, watch))
        yield device


def _metrics(port: int, take: Take, watch: LoopWatch | None) -> AbstractContextManager[MetricsPlace]:
    from holofsd.daemon.metrics.server import MetricsPage, serving_metrics  # prometheus-client, for who wants it

    return serving_metrics(port, MetricsPage(take, asyncio.get_running_loop(), watch.lag if watch else lambda: None))


async def _local_network(endpoint: Endpoint, hub: SyncHub) -> None:
    from holofsd.net.lan import LanDiscovery  # what it needs takes a tenth of the start, for who wants it

    await LanDiscovery(endpoint, lambda: _others(hub), lambda device, found: hub.learn(device, tuple(found))).run()


def _others(hub: SyncHub) -> set[DeviceId]:
    """Every device that we share a volume with."""
    return {device for volume in hub.volumes() for device in volume.members.others()}


def _last_sockets(store: DeviceStore) -> tuple[str, ...]:
    return tuple((store.meta(_SOCKETS) or b"").decode().split())


def _remember_sockets(store: DeviceStore, endpoint: Endpoint) -> None:
    """Stores the local addresses for the next start: two devices that both restart find each other where they were."""
    with store.db.transaction():
        store.set_meta(_SOCKETS, " ".join(endpoint.sockets()).encode())
