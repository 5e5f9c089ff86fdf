# SPDX-License-Identifier: GPL-3.0-or-later
"""One window before a fake device, on real sockets, for all tests of this folder: in a thread with its own loop."""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from holofs_window.app import WindowApp
from holofs_window.control_client import ControlClient
from holofs_window.server import listening, make_server
from holofs_window.sessions import Sessions
from holofsd.core.errors import NoSuchName
from holofsd.fs.types import Restored
from holofsd.rpc import history_api, safety_api
from holofsd.rpc.server import serving
from holofsd.rpc.settings_api import SettingsReply, SettingValue
from support.fake_device import FakeDevice
from support.window import Browser

START_S = 30.0
PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 20
FILES = {
    b"a\xff.txt": b"one\n",
    b"evil.html": b"<script>alert(1)</script>",
    b"evil.svg": b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
    b"dir/picture.txt": PNG,
    b"binary": b"a\0b",
    b"latin": b"caf\xe9",
    b"long.txt": "é".encode() * (200 << 10),
    b"empty": b"",
    b'na"me\r\n.txt': b"x",
}


class WindowDevice(FakeDevice):
    """A fake device with what only the window's tests ask for."""

    def __init__(self) -> None:
        super().__init__()
        self.files = dict(FILES)
        self.braked: list[str] = []

    async def brake(
        self, volume: str, act: str, files: int, percent: int, skip: tuple[bytes, ...]
    ) -> safety_api.BrakeReply:
        self.braked.append(act)
        paths = tuple(b"%d" % number for number in range(1500))
        return safety_api.BrakeReply(False, 50, 50, 1500, 0, 1, ("desk",), paths)

    async def history(self, volume: str, path: bytes) -> history_api.HistoryReply:
        return history_api.HistoryReply((history_api.VersionSummary("ab", 1, 2, 3, 4, "desk", True, False),))

    async def restore(self, wanted: history_api.Restoration) -> AsyncIterator[Restored]:
        if wanted.version != "ab":
            raise NoSuchName("There is no such version.")
        yield Restored(wanted.path, "restored")

    async def list_trash(self, volume: str, path: bytes, single: bool) -> tuple[history_api.TrashSummary, ...]:
        return (history_api.TrashSummary(b"old.txt", "file", 5, 1, 9, "desk", True),)

    async def settings(self, reload: bool) -> SettingsReply:
        return SettingsReply("/state/config.toml", (SettingValue("log.level", '"info"', "default", "", ""),), ())


@dataclass
class Window:
    """The window, as a test sees it."""

    port: int
    state: Path
    sessions: Sessions
    device: WindowDevice
    loop: asyncio.AbstractEventLoop

    def link(self) -> str:
        """A fresh link, made in the window's own thread."""
        secret = asyncio.run_coroutine_threadsafe(self._secret(), self.loop).result(START_S)
        return f"http://127.0.0.1:{self.port}/?link={secret}"

    async def _secret(self) -> str:
        return self.sessions.new_link()

    def streams(self) -> int:
        """Pages that are kept up to date now."""
        return sum(session.streams for session in [*self.sessions._sessions.values()])

    def browser(self) -> Browser:
        return Browser.opened(self.link())


@asynccontextmanager
async def running_window(state: Path) -> AsyncIterator[Window]:
    device, sessions = WindowDevice(), Sessions()
    with closing(listening(0)) as socket:
        port = socket.getsockname()[1]
        async with serving(device, state / "holofsd.sock"), ControlClient(state) as daemon:  # type: ignore[arg-type]
            app = WindowApp(state, port, sessions, daemon)
            server = make_server(app.asgi)
            work = asyncio.create_task(server.serve(sockets=[socket]))
            yield Window(port, state, sessions, device, asyncio.get_running_loop())
            await app.live.close()
            server.should_exit = True
            await work


@pytest.fixture(scope="session")
def window() -> Iterator[Window]:
    with tempfile.TemporaryDirectory(prefix="hfs-window-") as folder:
        made: list[Window] = []
        ready, stop = threading.Event(), threading.Event()

        async def run() -> None:
            async with running_window(Path(folder)) as found:
                made.append(found)
                ready.set()
                await asyncio.to_thread(stop.wait)

        thread = threading.Thread(target=lambda: asyncio.run(run()), daemon=True)
        thread.start()
        assert ready.wait(START_S)
        yield made[0]
        stop.set()
        thread.join(START_S)
        assert not thread.is_alive()
