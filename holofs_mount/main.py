# SPDX-License-Identifier: GPL-3.0-or-later
"""The program `holofs-mount`: checks, attaches, mounts, and serves in the foreground until unmounted or told to stop.

Prints nothing on success. What goes wrong before the mount answers is one sentence on standard error and an exit code
(see `options`). SIGTERM and SIGINT unmount.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import secrets
import signal
import sys
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from types import ModuleType
from typing import Final, TextIO, cast

import structlog

from holofs_api.activation import activate
from holofs_api.paths import socket_path, state_dir
from holofs_api.places import run_within
from holofs_api.private_process import become_private
from holofs_api.sockets import open_folder
from holofs_api.state_directory import StateDirError, require_device
from holofs_api.utf8 import require_utf8
from holofs_mount import bindings
from holofs_mount.client import DaemonUnavailable
from holofs_mount.core.volume import MountRequest, Volume
from holofs_mount.options import (
    EXIT_DAEMON,
    EXIT_FAILED,
    EXIT_USAGE,
    EXIT_VOLUME,
    MountError,
    Options,
    check_access,
    check_fuse,
    check_mountpoint,
    parse,
    take_away_dead,
)
from holofs_mount.settings import MountSettings, read_settings

log = structlog.get_logger(__name__)

_UNMOUNT_GRACE: Final = 3.0
"""Seconds for programs to let go of the mount before it is taken from them."""
_HELPER_SECONDS: Final = 20.0


def main() -> None:
    """The console script."""
    require_utf8("holofs_mount.main")
    become_private(findable=True)
    options = parse(sys.argv[1:])
    settings = read_settings(options.state_dir, options.settings, os.environ)
    _configure_logging(settings.log)
    for complaint in settings.complaints:
        log.warning("a setting is passed over", problem=complaint)
    reporter = Reporter(options.ready_fd)
    try:
        with suppress(KeyboardInterrupt):
            if options.go_fd is None:
                _activate(options.state_dir)
            asyncio.run(run(options, settings, reporter))
    except MountError as error:
        reporter.say(f"error {error}")
        print(f"holofs-mount: {error}", file=sys.stderr)
        sys.exit(error.code)
    except Exception:
        log.exception("the mount failed")
        print("holofs-mount: The mount failed; the log above says why.", file=sys.stderr)
        sys.exit(EXIT_FAILED)


def _calm_collector() -> None:
    """Freezes what is loaded now, so that the collector does not walk through it after every few hundred requests."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


async def run(options: Options, settings: MountSettings, reporter: Reporter) -> None:
    """Runs a mount, from the checks to its end. Raises MountError if it cannot begin."""
    check_fuse()
    check_access(options.allow)
    choice = bindings.choose(settings.binding)
    if choice.lacks:
        log.warning(choice.sentence)
    name, program = choice.binding, choice.unmounter
    binding = bindings.load(name)
    _await_daemon(options.go_fd)
    state = _device(options.state_dir)
    mountpoint = options.path if options.over_dead else check_mountpoint(options.path)
    request = MountRequest(
        volume=options.volume,
        mountpoint=mountpoint,
        socket=socket_path(state),
        mount_id=options.mount_id or secrets.token_hex(8),
        read_only=options.read_only,
        patience=settings.patience,
        allow=options.allow,
        watching=settings.watching,
    )
    async with AsyncExitStack() as stack:
        volume = Volume(request)
        stack.push_async_callback(volume.close)
        await _start(volume)
        stopper = Stopper(binding, program, mountpoint)
        stack.push_async_callback(stopper.close)
        stopper.listen()
        _calm_collector()

        def ready() -> None:
            reporter.say(f"ready {name}")

        if options.over_dead:
            take_away_dead(mountpoint, program)
        try:
            await binding.serve(volume, os.fspath(mountpoint), options.of_kernel, ready)
        except (RuntimeError, OSError) as error:
            raise MountError(f"{mountpoint} could not be mounted: {error}.", EXIT_FAILED) from error


def _device(given: str | None) -> Path:
    try:
        state = state_dir(given)
        require_device(state)
    except StateDirError as error:
        raise MountError(error.message, EXIT_USAGE if error.usage else EXIT_DAEMON) from None
    return state


def _activate(given: str | None) -> None:
    """Lets a service manager that listens for clients start the daemon, where none answers."""
    with suppress(OSError, StateDirError), open_folder(state_dir(given)) as folder:  # attaching says what is wrong
        if not folder.is_listening():
            activate(folder)


def _await_daemon(fd: int | None) -> None:
    """Waits until a daemon that is starting answers: it writes a line to this descriptor."""
    if fd is None:
        return
    with os.fdopen(fd, "rb") as go:
        if not go.readline():
            raise MountError("The daemon ended before it answered.", EXIT_DAEMON)


async def _start(volume: Volume) -> None:
    try:
        await volume.start()
    except DaemonUnavailable as error:
        code = EXIT_DAEMON if error.code == "daemon-absent" else EXIT_VOLUME
        raise MountError(str(error), code) from None


class Stopper:
    """Unmounts on a signal: first so that open files are saved, then even if the mount is in use."""

    def __init__(self, binding: ModuleType, program: str, mountpoint: Path) -> None:
        self._binding = binding
        self._program = program
        self._mountpoint = mountpoint
        self._task: asyncio.Task[None] | None = None

    def listen(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, self.stop)

    def stop(self) -> None:
        if self._task is None:
            self._task = asyncio.ensure_future(self._unmount())

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _unmount(self) -> None:
        if await self._fusermount("-u"):
            return
        # A program has a file or a working directory there: take the mount from the tree and let it finish.
        await self._fusermount("-u", "-z")
        await asyncio.sleep(_UNMOUNT_GRACE)
        self._binding.stop()

    async def _fusermount(self, *flags: str) -> bool:
        # In a thread: the loop may end, with the mount, before the program does.
        command = [self._program, *flags, "--", os.fspath(self._mountpoint)]
        code, _ = await asyncio.to_thread(run_within, command, _HELPER_SECONDS)
        return code == 0


class Reporter:
    """Tells the process that started this one, once: `ready BINDING` when the mount answers, or `error SENTENCE`."""

    def __init__(self, fd: int | None) -> None:
        self._fd = fd

    def say(self, line: str) -> None:
        if self._fd is not None:
            with suppress(OSError):
                os.write(self._fd, os.fsencode(line) + b"\n")
                os.close(self._fd)
            self._fd = None


class Forgiving:
    """A stream for remarks, which are not worth failing for: its disk may be full, and files go on all the same."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()


def _configure_logging(name: str) -> None:
    level = logging.getLevelNamesMapping()[name.upper()]
    logging.basicConfig(stream=sys.stderr, level=level, format="%(levelname)s %(name)s: %(message)s")
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(file=cast(TextIO, Forgiving(sys.stderr))),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.dev.ConsoleRenderer(colors=False),
        ],
    )


if __name__ == "__main__":
    main()
