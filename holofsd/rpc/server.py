# SPDX-License-Identifier: GPL-3.0-or-later
"""The gRPC server on the Unix socket of the state directory, for this user only, with health and reflection; and
the fast lane beside it."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio
from grpc_reflection.v1alpha import reflection

from holofs_api.paths import calls_socket_beside
from holofs_api.v1 import control_pb2, filesystem_pb2
from holofs_api.v1.control_pb2_grpc import add_ControlServicer_to_server
from holofsd.core.errors import StateDirUnusable
from holofsd.rpc.control_service import ControlService
from holofsd.rpc.device_api import DeviceService
from holofsd.rpc.errors import ErrorInterceptor
from holofsd.rpc.fast_lane import FastLane
from holofsd.rpc.filesystem_service import FilesystemService

MAX_MESSAGE: Final = 64 << 20
GRACE_S: Final = 1.0
"""How long calls in flight may go on once the server stops."""

_OPTIONS: Final = (
    ("grpc.max_receive_message_length", MAX_MESSAGE),
    ("grpc.max_send_message_length", MAX_MESSAGE),
    # Without this a second daemon would silently share the socket's address.
    ("grpc.so_reuseport", 0),
)
_SERVICES: Final = (
    filesystem_pb2.DESCRIPTOR.services_by_name["Filesystem"].full_name,
    control_pb2.DESCRIPTOR.services_by_name["Control"].full_name,
)


def _private_folder(folder: Path) -> None:
    """Makes the socket's folder ours alone; somebody else's folder of that name in /tmp must not be used."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise StateDirUnusable(f"{folder} is not a directory of yours, so the daemon's socket cannot live there.")
    if found.st_mode & 0o077:
        folder.chmod(0o700)


def _add_services(server: Any, device: DeviceService, health: Any) -> FilesystemService:
    filesystem = FilesystemService(device)
    server.add_generic_rpc_handlers((filesystem.handlers(),))
    add_ControlServicer_to_server(ControlService(device), server)
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    reflection.enable_server_reflection(
        (*_SERVICES, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name), server
    )
    return filesystem


@asynccontextmanager
async def serving(device: DeviceService, socket: Path, check: Callable[[], None] = lambda: None) -> AsyncIterator[None]:
    """Serves until left. The caller holds the lock of the state directory, so a socket that is found is a dead one.

    `check`: raises where a person's call cannot be answered, whatever it asks.
    """
    _private_folder(socket.parent)
    socket.unlink(missing_ok=True)
    server = grpc.aio.server(options=_OPTIONS, interceptors=(ErrorInterceptor(check),))
    health = health_aio.HealthServicer()
    filesystem = _add_services(server, device, health)
    lane = FastLane(filesystem, calls_socket_beside(socket))
    async with lane.open():  # first: whoever can attach finds it
        await _listen(server, socket)
        await _report(health, health_pb2.HealthCheckResponse.SERVING)
        try:
            yield
        finally:
            await asyncio.shield(_stop(server, health, filesystem, lane, socket))


async def _listen(server: Any, socket: Path) -> None:
    before = os.umask(0o177)  # the socket is 0600 from its first moment
    try:
        server.add_insecure_port(f"unix:{socket}")
        await server.start()
    finally:
        os.umask(before)


async def _report(health: Any, status: int) -> None:
    names: Sequence[str] = ("", *_SERVICES)
    for name in names:
        await health.set(name, status)


async def _stop(server: Any, health: Any, filesystem: FilesystemService, lane: FastLane, socket: Path) -> None:
    await _report(health, health_pb2.HealthCheckResponse.NOT_SERVING)
    await filesystem.going_down()
    await asyncio.gather(server.stop(GRACE_S), lane.stop(GRACE_S))
    socket.unlink(missing_ok=True)
