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

from holofs_api.sockets import SocketFolder, linked_from_stand_ins
from holofs_api.state_directory import StateDirError
from holofs_api.v1 import control_pb2, filesystem_pb2
from holofs_api.v1.control_pb2_grpc import add_ControlServicer_to_server
from holofsd.core.errors import StateDirUnusable
from holofsd.rpc.control_service import ControlService
from holofsd.rpc.device_api import DeviceService
from holofsd.rpc.errors import ErrorInterceptor
from holofsd.rpc.fast_lane import FastLaneServer
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


def _private_folder(folder: Path) -> SocketFolder:
    """The socket's folder, made ours alone and held open. Raises StateDirUnusable where it is another user's."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            raise StateDirUnusable(f"{folder} is not a directory of yours, so the daemon's socket cannot live there.")
        if found.st_mode & 0o077:
            folder.chmod(0o700)
        return SocketFolder(folder)
    except StateDirError as error:
        raise StateDirUnusable(error.message) from None
    except OSError as error:
        raise StateDirUnusable(f"{folder} cannot hold the daemon's socket: {error.strerror}.") from None


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
    server = grpc.aio.server(options=_OPTIONS, interceptors=(ErrorInterceptor(check),))
    health = health_aio.HealthServicer()
    filesystem = _add_services(server, device, health)
    with _private_folder(socket.parent) as folder:
        folder.remove(socket.name)
        lane = FastLaneServer(filesystem, folder)
        async with lane.open():  # first: whoever can attach finds it
            await _listen(server, folder, socket.name)
            await _report(health, health_pb2.HealthCheckResponse.SERVING)
            try:
                with linked_from_stand_ins(socket.parent):
                    yield
            finally:
                await asyncio.shield(_stop(server, health, filesystem, lane))
                folder.remove(socket.name)


async def _listen(server: Any, folder: SocketFolder, name: str) -> None:
    """The folder lets nobody else in, so it does not matter that the socket's own mode comes a moment later. A umask
    that was set for this alone would be that of all threads, also of one that makes a folder."""
    server.add_insecure_port(f"unix:{folder.address(name)}")
    folder.make_private(name)
    await server.start()


async def _report(health: Any, status: int) -> None:
    names: Sequence[str] = ("", *_SERVICES)
    for name in names:
        await health.set(name, status)


async def _stop(server: Any, health: Any, filesystem: FilesystemService, lane: FastLaneServer) -> None:
    await _report(health, health_pb2.HealthCheckResponse.NOT_SERVING)
    await filesystem.going_down()
    await asyncio.gather(server.stop(GRACE_S), lane.stop(GRACE_S))
