# SPDX-License-Identifier: GPL-3.0-or-later
"""The program of the window: started by the daemon, which asks for links on standard input
(`holofsd/daemon/window.py`).

It ends at the end of standard input, and by itself when no link and no session is good any more.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

# The settings are changed by a process that this one starts, by exec and never by fork alone.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

from holofs_api import VERSION
from holofs_api.private_process import become_private
from holofs_api.state_directory import StateDirError
from holofs_api.utf8 import require_utf8
from holofs_window.app import WindowApp
from holofs_window.control_client import CallFailed, ControlClient
from holofs_window.server import ADDRESS, listening, make_server
from holofs_window.sessions import LINK_S, Sessions

PROGRAM: Final = f"holofs-window {VERSION}"
_LOOK_S: Final = 10.0
_UNUSED_S: Final = 60.0
"""How long the program stays when nobody can come in any more: a link is made quicker then."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 after an orderly end, 1 where the window cannot be served: standard output says why."""
    if arguments is None:
        require_utf8("holofs_window.main")
        become_private()
    told = build().parse_args(arguments)
    try:
        with closing(listening(told.port)) as socket:
            asyncio.run(_serve(Path(told.state_dir), socket))
    except OSError as error:
        why = error.strerror or error
        return _fail(
            f"Port {told.port} of {ADDRESS} cannot be used ({why}): choose another one by the setting window.port."
        )
    except StateDirError as error:
        return _fail(error.message)
    except CallFailed as error:
        return _fail(error.message)
    return 0


def build() -> argparse.ArgumentParser:
    """The parser of the program."""
    parser = argparse.ArgumentParser(prog="holofs-window", description="The window of a device, for its daemon.")
    parser.add_argument("--state-dir", required=True, metavar="DIR", help="the device's state directory")
    parser.add_argument("--port", type=int, default=0, metavar="PORT", help="port of 127.0.0.1; 0: any that is free")
    parser.add_argument("--version", action="version", version=PROGRAM)
    return parser


def _fail(sentence: str) -> int:
    _say({"error": sentence})
    return 1


def _say(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


async def _serve(state: Path, socket: Any) -> None:
    """Serves until the daemon or the last user has gone."""
    port = socket.getsockname()[1]
    sessions = Sessions()
    async with ControlClient(state) as daemon:
        await daemon.greet()
        app = WindowApp(state, port, sessions, daemon)
        server = make_server(app.asgi)
        done = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, done.set)
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(server.serve(sockets=[socket]))
            helpers = [group.create_task(_obey(sessions, port, done)), group.create_task(_watch(sessions, done))]
            await done.wait()
            for helper in helpers:
                helper.cancel()
            await app.live.close()
            server.should_exit = True
            await serving


async def _obey(sessions: Sessions, port: int, done: asyncio.Event) -> None:
    """Answers each line of standard input; sets `done` at its end."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin.buffer)
    while line := await reader.readline():
        if line.strip() == b"link":
            ends = int((time.time() + LINK_S) * 1000)
            _say({"link": f"http://{ADDRESS}:{port}/?link={sessions.new_link()}", "expires_at_ms": ends})
    done.set()


async def _watch(sessions: Sessions, done: asyncio.Event) -> None:
    """Sets `done` when nobody can come in any more."""
    last_use = time.monotonic()
    while time.monotonic() < last_use + _UNUSED_S:
        await asyncio.sleep(_LOOK_S)
        if sessions.in_use:
            last_use = time.monotonic()
    done.set()


if __name__ == "__main__":
    sys.exit(main())
