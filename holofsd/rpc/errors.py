# SPDX-License-Identifier: GPL-3.0-or-later
"""The one place where an exception becomes an answer: a status with a detail, or a CallError in a stream of calls."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

import grpc
import structlog

from holofs_api.errors import error_metadata, status_of
from holofsd.core.errors import HoloError
from holofsd.store.database import is_damage

_log = structlog.get_logger(__name__)

_ALWAYS: Final = ("Handshake", "Shutdown")
"""Calls of Control that are answered whatever is wrong with the device."""


@dataclass(frozen=True, slots=True)
class Description:
    errno: int
    code: str
    message: str


def describe(error: Exception) -> Description:
    """Describes an error for the caller. An error that nobody designed is EIO, with its traceback in the log only."""
    if isinstance(error, HoloError):
        return Description(error.errno, error.code, error.message)
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return Description(
            errno.ENOSPC, "no-space", "The disk is full: nothing was changed; free some space and try again."
        )
    if isinstance(error, sqlite3.ProgrammingError) and "closed database" in str(error):
        # Somebody is attached to a volume that was left, or is being opened anew.
        return Description(errno.ESTALE, "stale-handle", "This volume is not open any more; attach again.")
    if is_damage(error):
        told = "The index of this volume is damaged: it is served read-only soon; `holofsctl status` says more."
        return Description(errno.EIO, "damaged-index", told)
    _log.error("a call failed with an error that nobody expected", exc_info=error)
    return Description(errno.EIO, "internal", "holofsd met an internal error; its log says more (log/holofsd.log).")


async def _abort(context: Any, error: Exception) -> None:
    told = describe(error)
    metadata = error_metadata(told.errno, told.code, told.message)
    await context.abort(status_of(told.errno), told.message, metadata)


def _nothing() -> None:
    pass


def _is_checked(method: str) -> bool:
    service, _, name = method.rpartition("/")
    return service.endswith(".Control") and name not in _ALWAYS


def _unary(
    handler: Callable[[Any, Any], Awaitable[Any]], check: Callable[[], None]
) -> Callable[[Any, Any], Awaitable[Any]]:
    async def answer(request: Any, context: Any) -> Any:
        try:
            check()
            return await handler(request, context)
        except grpc.aio.AbortError:
            raise
        except Exception as error:  # noqa: BLE001 - the outermost edge of a call
            await _abort(context, error)

    return answer


def _streaming(
    handler: Callable[[Any, Any], AsyncIterator[Any]], check: Callable[[], None]
) -> Callable[[Any, Any], AsyncIterator[Any]]:
    async def answers(request: Any, context: Any) -> AsyncIterator[Any]:
        try:
            check()
            async for reply in handler(request, context):
                yield reply
        except grpc.aio.AbortError:
            raise
        except Exception as error:  # noqa: BLE001 - the outermost edge of a call
            await _abort(context, error)

    return answers


class ErrorInterceptor(grpc.aio.ServerInterceptor):
    """Wraps every handler of the server, so that none maps errors itself.

    `check` comes before each call of a person but those that end the daemon.
    """

    def __init__(self, check: Callable[[], None]) -> None:
        self._check = check

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], details: Any) -> Any:
        handler = await continuation(details)
        if handler is None or not details.method.startswith("/holofs."):
            return handler
        check = self._check if _is_checked(details.method) else _nothing
        codec = {
            "request_deserializer": handler.request_deserializer,
            "response_serializer": handler.response_serializer,
        }
        if handler.unary_unary:
            return grpc.unary_unary_rpc_method_handler(_unary(handler.unary_unary, check), **codec)
        if handler.unary_stream:
            return grpc.unary_stream_rpc_method_handler(_streaming(handler.unary_stream, check), **codec)
        return grpc.stream_stream_rpc_method_handler(_unary(handler.stream_stream, check), **codec)
