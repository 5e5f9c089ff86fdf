# SPDX-License-Identifier: GPL-3.0-or-later
"""Connection of the window to the daemon of its state directory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import grpc

from holofs_api import API_VERSION, VERSION
from holofs_api.errors import detail_of
from holofs_api.paths import SOCKET_NAME
from holofs_api.sockets import open_folder
from holofs_api.v1 import control_pb2 as pb
from holofs_api.v1.control_pb2_grpc import ControlStub

CALL_S: Final = 90.0
_MAX_MESSAGE: Final = 64 << 20
_NOT_THERE: Final = "grpc-unavailable"


class CallFailed(Exception):
    """A call that the daemon refused, or did not answer. `message`: one sentence for a person."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class ControlClient:
    """Calls of Control by their names. Use it as a context manager; the daemon may end and come back meanwhile."""

    def __init__(self, state: Path) -> None:
        self._folder = open_folder(state)
        options = (("grpc.max_receive_message_length", _MAX_MESSAGE), ("grpc.enable_http_proxy", 0))
        self._channel: Any = grpc.aio.insecure_channel(f"unix:{self._folder.address(SOCKET_NAME)}", options=options)
        self._stub: Any = ControlStub(self._channel)

    async def __aenter__(self) -> ControlClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._channel.close()
        self._folder.close()

    async def greet(self) -> None:
        """Tells the daemon who calls. Raises CallFailed where the two do not fit."""
        hello = pb.HandshakeRequest(api_version=API_VERSION, program=f"holofs-window {VERSION}")
        await self.call("Handshake", hello)

    async def call(self, method: str, request: Any) -> Any:
        """Makes a unary call. Raises CallFailed."""
        try:
            return await getattr(self._stub, method)(request, timeout=CALL_S)
        except grpc.aio.AioRpcError as error:
            raise _failure(error) from None

    async def stream(self, method: str, request: Any) -> AsyncIterator[Any]:
        """The messages of a streaming call, which ends with the iterator. Raises CallFailed."""
        call = getattr(self._stub, method)(request)
        try:
            async for message in call:
                yield message
        except grpc.aio.AioRpcError as error:
            raise _failure(error) from None
        finally:
            call.cancel()


def _failure(error: Any) -> CallFailed:
    detail = detail_of(error)
    message = detail.message or "The daemon failed without saying why; `holofsctl log` may tell."
    if detail.code == _NOT_THERE:
        message = "The daemon does not answer: start it with `holofsctl up`, then run `holofsctl ui` again."
    elif detail.code == "grpc-deadline-exceeded":
        message = "The daemon did not answer in time; it may still be working on it."
    return CallFailed(detail.code, message)
