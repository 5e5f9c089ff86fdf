# SPDX-License-Identifier: GPL-3.0-or-later
"""Talking to the daemon of one state directory: connects, shakes hands, and turns failed calls into CommandErrors.

gRPC is imported by what needs it: `up` starts the daemon before, so that both are loaded at the same time.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from holofs_api import API_VERSION
from holofs_api.handshake import ApiMismatchError, check
from holofs_api.paths import socket_path, socket_target
from holofs_api.state_directory import Standing, standing
from holofs_api.v1 import control_pb2 as pb
from holofsctl import __version__
from holofsctl.errors import CommandError
from holofsctl.exit_codes import Exit, of_detail

CALL_TIMEOUT_S: Final = 90.0
HANDSHAKE_TIMEOUT_S: Final = 15.0
_MAX_MESSAGE: Final = 64 << 20


@contextmanager
def told_plainly(state: Path) -> Iterator[None]:
    """A failed call leaves as a CommandError with one sentence."""
    import grpc

    from holofs_api.errors import detail_of

    try:
        yield
    except grpc.RpcError as error:
        detail = detail_of(error)
        if detail.code == "grpc-unavailable":
            raise not_running(state) from None
        message = detail.message or "holofsd failed without saying why; see log/holofsd.log in its state directory."
        if detail.code == "grpc-deadline-exceeded":
            message = "holofsd did not answer in time; it may still be working on it."
        raise CommandError(message, of_detail(detail), detail.code) from None


def not_running(state: Path) -> CommandError:
    """Says that there is no device at all where there is none. Raises StateDirError where there cannot be one."""
    if standing(state) is not Standing.DEVICE:
        return CommandError(f"There is no device in {state}: `holofsctl up` makes one.", Exit.NOT_RUNNING, "no-device")
    sentence = f"holofsd is not running for {state}: start it with `holofsctl up`."
    return CommandError(sentence, Exit.NOT_RUNNING, "not-running")


def _is_listening(state: Path) -> bool:
    """Whether somebody accepts connections on the socket (a daemon that was killed leaves it behind).

    Raises PermissionError where the state directory is somebody else's.
    """
    path = os.fspath(socket_path(state))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        code = probe.connect_ex(path)
    if code in (errno.EACCES, errno.EPERM):
        raise PermissionError(code, os.strerror(code), path)
    return code not in (errno.ENOENT, errno.ENOTDIR, errno.ECONNREFUSED)


class Client:
    """A connection whose handshake has been made. Use it as a context manager."""

    def __init__(self, state: Path) -> None:
        self.state = state
        if not _is_listening(state):
            raise not_running(state)
        import grpc

        from holofs_api.v1.control_pb2_grpc import ControlStub

        options = (("grpc.max_receive_message_length", _MAX_MESSAGE), ("grpc.enable_http_proxy", 0))
        self._channel = grpc.insecure_channel(socket_target(state), options=options)
        self._stub: Any = ControlStub(self._channel)
        try:
            self.daemon = self._handshake()
        except BaseException:
            self._channel.close()
            raise

    def _handshake(self) -> pb.HandshakeReply:
        request = pb.HandshakeRequest(api_version=API_VERSION, program=f"holofsctl {__version__}")
        with told_plainly(self.state):
            reply: pb.HandshakeReply = self._stub.Handshake(request, timeout=HANDSHAKE_TIMEOUT_S)
        try:
            check(reply.api_version, reply.program)
        except ApiMismatchError as error:
            raise CommandError(str(error), Exit.FAILED, "version-mismatch") from None
        return reply

    def call(self, method: str, request: Any, timeout_s: float = CALL_TIMEOUT_S) -> Any:
        """One unary call of Control, by its name."""
        with told_plainly(self.state):
            return getattr(self._stub, method)(request, timeout=timeout_s)

    def stream(self, method: str, request: Any) -> Iterator[Any]:
        """The messages of a streaming call of Control; dropping the iterator, also by Ctrl-C, ends the call."""
        call = getattr(self._stub, method)(request)
        try:
            with told_plainly(self.state):
                yield from call
        finally:
            call.cancel()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._channel.close()
