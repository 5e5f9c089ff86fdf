# SPDX-License-Identifier: GPL-3.0-or-later
"""Talking to the daemon of one state directory: connects, shakes hands, and turns failed calls into CommandErrors.

gRPC is imported by what needs it: `up` starts the daemon before, so that both are loaded at the same time.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from types import TracebackType
from typing import Any, Final, cast

from holofs_api import API_VERSION, VERSION
from holofs_api.handshake import ApiMismatchError, check
from holofs_api.mount_processes import command_of
from holofs_api.paths import SOCKET_NAME
from holofs_api.sockets import SocketFolder, open_folder
from holofs_api.state_directory import FolderContent, standing
from holofs_api.v1 import control_pb2 as pb
from holofsctl.errors import CommandError
from holofsctl.exit_codes import Exit, of_detail
from holofsctl.progress import Progress

CALL_TIMEOUT_S: Final = 90.0
HANDSHAKE_TIMEOUT_S: Final = 15.0
_LOOK_S: Final = 10.0
"""Seconds between two looks at whether a daemon whose stream is followed still answers."""
_MAX_MESSAGE: Final = 64 << 20
_PROGRAM: Final = f"holofsctl {VERSION}"
_WAITING: Final = "Waiting for holofsd"
_DOING: Final = {
    "CollectGarbage": "Deleting what nothing needs",
    "EmptyTrash": "Emptying the trash",
    "Fsck": "Checking",
    "Join": "Joining",
    "KeepHistory": "Tidying the history",
    "Leave": "Leaving",
    "ListTrash": "Looking through the trash",
    "Mount": "Mounting",
    "Recover": "Recovering",
    "Resolve": "Settling",
    "Restore": "Restoring",
    "RestoreMounts": "Bringing mounts back",
    "Scrub": "Reading all content",
    "Unmount": "Unmounting",
    "Wait": "Waiting for other devices",
}
"""Work behind calls, for a person who waits."""
_UNSEEN: Final = ("Events", "Ping", "Status")
"""Calls whose answers are printed as they come, or which are asked again and again."""


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
    if standing(state) is not FolderContent.DEVICE:
        return CommandError(f"There is no device in {state}: `holofsctl up` makes one.", Exit.NOT_RUNNING, "no-device")
    sentence = f"holofsd is not running for {state}: start it with `holofsctl up`."
    if pid := daemon_process(state):
        sentence = (
            f"holofsd (process {pid}) runs for {state} without a socket there: it is starting or ending, or is of an"
            f" earlier program. Wait a moment, or end it with `kill {pid}` and run `holofsctl up`."
        )
        return CommandError(sentence, Exit.NOT_RUNNING, "no-socket")
    return CommandError(sentence, Exit.NOT_RUNNING, "not-running")


def daemon_process(state: Path) -> str:
    """The number of the process that wrote itself into the lock, if it is a daemon that runs still; else empty."""
    pid = _lock_holder(state)
    command = command_of(f"/proc/{pid}") if pid else None
    return pid if command is not None and any(b"holofsd" in word for word in command.words[:8]) else ""


def _lock_holder(state: Path) -> str:
    try:
        pid = (state / "lock").read_text("ascii").strip()
    except (OSError, ValueError):
        return ""
    return pid if pid.isdigit() else ""


def _folder_of_daemon(state: Path) -> SocketFolder:
    """The folder in which a daemon accepts connections. Raises CommandError where none does, StateDirError where it is
    not this user's."""
    try:
        folder = open_folder(state)
    except (FileNotFoundError, NotADirectoryError):
        raise not_running(state) from None
    try:
        if not folder.is_listening():
            raise not_running(state)
    except BaseException:
        folder.close()
        raise
    return folder


def not_answering(state: Path) -> CommandError:
    """Error for a daemon that is there, but stopped or blocked."""
    pid = _lock_holder(state)
    told = f"holofsd (process {pid})" if pid else "holofsd"
    end = f"`kill -9 {pid}`" if pid else "`kill -9`"
    sentence = (
        f"{told} is running for {state} but does not answer: wait a moment and try again, "
        f"or end it with {end} and run `holofsctl up`."
    )
    return CommandError(sentence, Exit.TIMED_OUT, "not-answering")


class Exchange:
    """A call of Control whose client sends one request after the other, and gets one reply to each, in order.

    A thread takes the replies: one that is waited for and interrupted (Ctrl-C) can be waited for again.
    """

    def __init__(self, state: Path, method: Any) -> None:
        self._state = state
        self._requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._replies: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.call = method(iter(self._requests.get, None))
        threading.Thread(target=self._collect, daemon=True).start()

    def send(self, request: Any) -> None:
        """Returns at once. The caller bounds how many replies it has not received yet."""
        self._requests.put(request)

    def receive(self) -> Any:
        """The next reply. Raises CommandError."""
        reply = self._replies.get()
        if reply is None:
            raise CommandError("holofsd ended the call without an answer; see log/holofsd.log in its state directory.")
        if isinstance(reply, Exception):
            self._replies.put(reply)  # there will be no other one
            with told_plainly(self._state):
                raise reply
        return reply

    def _collect(self) -> None:
        import grpc

        try:
            for reply in self.call:
                self._replies.put(reply)
        except grpc.RpcError as error:
            self._replies.put(error)
        else:
            self._replies.put(None)

    def end(self) -> None:
        self._requests.put(None)
        self.call.cancel()


def _shown(method: str) -> AbstractContextManager[object]:
    """Display of a call that takes long."""
    return nullcontext() if method in _UNSEEN else Progress(_DOING.get(method, _WAITING))


def _hello() -> pb.HandshakeRequest:
    return pb.HandshakeRequest(api_version=API_VERSION, program=_PROGRAM)


class Client:
    """A connection whose handshake has been made. Use it as a context manager."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self._folder = _folder_of_daemon(state)
        import grpc

        from holofs_api.v1.control_pb2_grpc import ControlStub

        options = (
            ("grpc.max_receive_message_length", _MAX_MESSAGE),
            ("grpc.enable_http_proxy", 0),
            # The address is that of a descriptor, whose number may have been another folder's a moment ago.
            ("grpc.use_local_subchannel_pool", 1),
        )
        self._channel = grpc.insecure_channel(f"unix:{self._folder.address(SOCKET_NAME)}", options=options)
        self._stub: Any = ControlStub(self._channel)
        try:
            self.daemon = self._handshake()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._channel.close()
        self._folder.close()

    def _handshake(self) -> pb.HandshakeReply:
        try:
            reply = self.call("Handshake", _hello(), HANDSHAKE_TIMEOUT_S)
        except CommandError as error:
            if error.code == "grpc-deadline-exceeded":
                raise not_answering(self.state) from None
            raise
        try:
            check(reply.api_version, reply.program, _PROGRAM)
        except ApiMismatchError as error:
            raise CommandError(str(error), Exit.FAILED, "version-mismatch") from None
        return cast(pb.HandshakeReply, reply)

    def call(self, method: str, request: Any, timeout_s: float = CALL_TIMEOUT_S) -> Any:
        """Makes a unary call of Control, by its name."""
        with _shown(method), told_plainly(self.state):
            return getattr(self._stub, method)(request, timeout=timeout_s)

    def stream(self, method: str, request: Any) -> Iterator[Any]:
        """The messages of a streaming call of Control; dropping the iterator, also by Ctrl-C, ends the call."""
        call = getattr(self._stub, method)(request)
        with self._looked_after(call), _shown(method), told_plainly(self.state):
            yield from call

    @contextmanager
    def exchange(self, method: str) -> Iterator[Exchange]:
        """A call of Control that streams both ways; leaving it, also by Ctrl-C, ends the call."""
        exchange = Exchange(self.state, getattr(self._stub, method))
        try:
            with self._looked_after(exchange.call):
                yield exchange
        finally:
            exchange.end()

    @contextmanager
    def _looked_after(self, call: Any) -> Iterator[None]:
        """Ends the call with CommandError when the daemon is silent, and in any case when it is left."""
        ended, is_silent = threading.Event(), threading.Event()
        threading.Thread(target=self._look_after, args=(call, ended, is_silent), daemon=True).start()
        try:
            yield
        except CommandError:
            if is_silent.is_set():
                raise not_answering(self.state) from None
            raise
        finally:
            ended.set()
            call.cancel()

    def _look_after(self, call: Any, ended: threading.Event, is_silent: threading.Event) -> None:
        """Ends a stream of a daemon that does not answer any more: by itself it would wait for ever."""
        import grpc

        while not ended.wait(_LOOK_S):
            try:
                self._stub.Handshake(_hello(), timeout=HANDSHAKE_TIMEOUT_S)
            except grpc.RpcError as error:
                if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
                    is_silent.set()
                    call.cancel()
                    return
            except ValueError:  # the channel is closed
                return

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
