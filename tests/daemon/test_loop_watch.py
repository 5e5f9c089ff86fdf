# SPDX-License-Identifier: GPL-3.0-or-later
"""A loop that is blocked is said in the log, and to the service manager by silence."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from structlog.testing import capture_logs

from holofsd.daemon import loop_watch
from holofsd.daemon.loop_watch import LAG_BOUNDS_S, LoopLag, LoopWatch
from holofsd.daemon.service_manager import ServiceManager
from support.wait import until


@pytest.fixture
def logs(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[structlog.typing.EventDict]]:
    with capture_logs() as found:
        monkeypatch.setattr(loop_watch, "_log", structlog.get_logger())
        yield found


def said(logs: list[structlog.typing.EventDict], event: str) -> list[structlog.typing.EventDict]:
    return [line for line in logs if line["event"] == event]


def a_function_that_blocks(released: threading.Event) -> None:
    released.wait(30)


async def test_a_blocked_loop_is_said_once_with_its_stack_and_its_end(
    logs: list[structlog.typing.EventDict],
) -> None:
    released = threading.Event()
    with LoopWatch(asyncio.get_running_loop(), blocked_s=0.2, look_s=0.02).watching():

        def release_when_it_is_said() -> None:
            until(lambda: said(logs, "the event loop is blocked"), "the blockage to be said")
            released.set()

        helper = threading.Thread(target=release_when_it_is_said)
        helper.start()
        a_function_that_blocks(released)
        helper.join()
        while not said(logs, "the event loop goes on"):  # noqa: ASYNC110 - a thread writes it
            await asyncio.sleep(0.01)
    (blocked,) = said(logs, "the event loop is blocked")
    assert "a_function_that_blocks" in blocked["stack"]
    assert blocked["log_level"] == "error"
    assert said(logs, "the event loop goes on")[0]["blocked_seconds"] >= 0.2


async def test_how_late_the_loop_is_is_counted_and_told_while_it_is_blocked() -> None:
    watch = LoopWatch(asyncio.get_running_loop(), look_s=0.001)
    assert watch.lag() == LoopLag((0,) * (len(LAG_BOUNDS_S) + 1), 0.0, 0.0)
    with watch.watching():
        until(lambda: watch.lag().blocked > 0.1, "the loop to be late")  # which blocks it
        while not sum(watch.lag().counts):  # noqa: ASYNC110 - a thread asks for it
            await asyncio.sleep(0.001)
    assert watch.lag().total > 0.1
    assert sum(watch.lag().counts[LAG_BOUNDS_S.index(0.1) + 1 :]) == 1


async def test_a_loop_that_turns_is_not_complained_about(logs: list[structlog.typing.EventDict]) -> None:
    watch = LoopWatch(asyncio.get_running_loop(), blocked_s=5.0, look_s=0.001)
    with watch.watching():
        for _ in range(200):
            await asyncio.sleep(0.001)
    assert logs == []


class Manager:
    """The service manager's end of the socket."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address)
        self.socket.setblocking(False)

    def heard(self) -> list[str]:
        words = []
        while True:
            try:
                words.append(self.socket.recv(100).decode())
            except BlockingIOError:
                return words


@pytest.fixture(params=["path", "abstract"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str]:
    """Address as the kernel has it, and as the service manager writes it."""
    if request.param == "path":
        return str(tmp_path / "notify"), str(tmp_path / "notify")
    name = f"holofs-test-{os.getpid()}-{tmp_path.name}"
    return "\0" + name, "@" + name


async def test_the_service_manager_is_told_and_its_watchdog_fed_by_the_loop(address: tuple[str, str]) -> None:
    manager = Manager(address[0])
    environment = {"NOTIFY_SOCKET": address[1], "WATCHDOG_USEC": "30000", "WATCHDOG_PID": str(os.getpid()), "X": "1"}
    told = ServiceManager(environment)
    assert environment == {"X": "1"}, "mounts do not speak for the daemon"
    async with told.told():
        words: list[str] = []
        while words.count("WATCHDOG=1") < 3:
            words += manager.heard()
            await asyncio.sleep(0.001)
        assert words[0] == "READY=1"
        manager.heard()
        # While the loop is blocked, nothing feeds the watchdog, for many times its limit.
        threading.Event().wait(0.2)
        assert manager.heard() == []
    assert manager.heard()[-1] == "STOPPING=1"
    manager.socket.close()


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"NOTIFY_SOCKET": "relative"},
        {"NOTIFY_SOCKET": "/nonexistent/socket", "WATCHDOG_USEC": "nonsense"},
        {"NOTIFY_SOCKET": "/nonexistent/socket", "WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"},
    ],
)
async def test_without_a_service_manager_nothing_happens(environment: dict[str, str]) -> None:
    async with ServiceManager(environment).told():
        await asyncio.sleep(0)
    assert environment == {}
