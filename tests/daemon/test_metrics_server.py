# SPDX-License-Identifier: GPL-3.0-or-later
"""The page of metrics over HTTP: whom it answers, and what scrapers that mean harm cannot do."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import structlog
from structlog.testing import capture_logs

from holofsd.core.errors import NoSpace
from holofsd.daemon.config import read_config
from holofsd.daemon.loop_watch import LAG_BOUNDS_S, LoopLag
from holofsd.daemon.metrics import server
from holofsd.daemon.metrics.server import MetricsPage, is_ours, listen, serving_metrics
from holofsd.daemon.metrics.snapshot import Snapshot
from holofsd.rpc import device_api as api
from holofsd.rpc.traffic_api import TrafficStatus
from support.metrics import parsed

SPACE = api.SpaceStatus(1, 2, 3, False, 4, 5, 6)


class Daemon:
    """Source of figures that counts how often it is asked, and may fail or take its time."""

    def __init__(self) -> None:
        self.taken = 0
        self.error: Exception | None = None
        self.seconds = 0.0
        self.hangs = False

    async def take(self) -> Snapshot:
        self.taken += 1
        if self.hangs:
            await asyncio.Event().wait()
        if self.error is not None:
            raise self.error
        return Snapshot((), (), SPACE, TrafficStatus(sent_bytes=self.taken), (), self.seconds)

    def page(self) -> MetricsPage:
        return MetricsPage(
            self.take, asyncio.get_running_loop(), lambda: LoopLag((0,) * (len(LAG_BOUNDS_S) + 1), 0.0, 0.0)
        )


@contextmanager
def served(daemon: Daemon) -> Iterator[int]:
    with serving_metrics(0, daemon.page()) as place:
        assert not place.problem
        yield place.port


@pytest.fixture(autouse=True)
def logs(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[structlog.typing.EventDict]]:
    with capture_logs() as found:
        monkeypatch.setattr(server, "_log", structlog.get_logger())
        yield found


def ask(
    port: int, request: bytes = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", host: str = "127.0.0.1"
) -> bytes:
    """Reads all that comes until the other side closes."""
    with closing(socket.create_connection((host, port), timeout=30)) as connection:
        connection.sendall(request)
        found = b""
        while piece := connection.recv(1 << 16):
            found += piece
        return found


async def asked(port: int, request: bytes | None = None, host: str = "127.0.0.1") -> bytes:
    return await asyncio.to_thread(ask, port, request or b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", host)


def body(answer: bytes) -> str:
    return answer.partition(b"\r\n\r\n")[2].decode()


async def test_scrapes_get_the_page_on_both_addresses_and_share_it_while_it_is_fresh(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server, "FRESH_S", 600.0)
    daemon = Daemon()
    with served(daemon) as port:
        first = await asked(port)
        assert first.startswith(b"HTTP/1.1 200 OK\r\n")
        assert parsed(body(first)).of("holofs_network_sent_bytes_total") == 1
        assert body(await asked(port, host="::1" if len(listening_at(port)) == 2 else "127.0.0.1")) == body(first)
        assert daemon.taken == 1
    with pytest.raises(ConnectionRefusedError):
        await asked(port)
    assert "holofs-metrics" not in [thread.name for thread in threading.enumerate()]


def listening_at(port: int) -> list[str]:
    found = []
    for host in ("127.0.0.1", "::1"):
        try:
            with closing(socket.create_connection((host, port), timeout=30)):
                found.append(host)
        except OSError:
            continue
    return found


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"HEAD /metrics HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", 200),
        (b"GET /metrics?x=y HTTP/1.0\r\n\r\n", 200),
        (b"GET /metrics HTTP/1.1\r\nHost: evil.example\r\n\r\n", 421),
        (b"GET /metrics HTTP/1.1\r\nHost: evil.example:9467\r\n\r\n", 421),
        (b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        (b"GET http://evil.example/metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        (b"POST /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
        (b"GET /metrics SPDY/3\r\n\r\n", 400),
        (b"\0\xff\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\n" + b"A: b\r\n" * 500 + b"\r\n", 400),
    ],
)
async def test_only_this_page_is_there_and_only_by_names_of_this_machine(request_: bytes, status: int) -> None:
    daemon = Daemon()
    with served(daemon) as port:
        answer = await asked(port, request_)
        assert int(answer.split()[1]) == status
        assert daemon.taken == (status == 200)
        assert (body(answer) == "") == request_.startswith(b"HEAD")


def test_names_of_this_machine() -> None:
    assert all(map(is_ours, ("localhost", "LOCALHOST:1", "127.0.0.1:9467", "[::1]", "[::1]:1", " localhost ")))
    assert not any(map(is_ours, ("", "::1", "localhost.evil", "evil:1", "127.0.0.1.evil:1", "localhost:x", ":1")))


async def test_connections_that_say_nothing_or_too_much_end_and_others_are_served(
    monkeypatch: pytest.MonkeyPatch, logs: list[structlog.typing.EventDict]
) -> None:
    monkeypatch.setattr(server, "DEADLINE_S", 1.0)
    monkeypatch.setattr(server, "MOST_CONNECTIONS", 3)
    with served(Daemon()) as port:
        silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(3)]
        assert (await asked(port)).startswith(b"HTTP/1.1 200")
        for connection in silent:
            connection.settimeout(30)
            assert await asyncio.to_thread(connection.recv, 1) == b""
            connection.close()
        large = socket.create_connection(("127.0.0.1", port), timeout=30)
        with closing(large), pytest.raises(OSError):
            while True:
                await asyncio.to_thread(large.sendall, b"x" * 10_000)
        assert (await asked(port)).startswith(b"HTTP/1.1 200")
    assert [line for line in logs if line["log_level"] != "info"] == []


async def test_many_scrapers_are_paced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "AT_ONCE", 2.0)
    monkeypatch.setattr(server, "FRESH_S", 600.0)
    daemon = Daemon()
    with served(daemon) as port:
        began = time.monotonic()
        answers = await asyncio.gather(*(asked(port) for _ in range(6)))
        assert time.monotonic() - began > 2 / server.A_SECOND
    assert all(answer.startswith(b"HTTP/1.1 200") for answer in answers)
    assert daemon.taken == 1


async def test_a_page_that_costs_much_is_made_rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "FRESH_S", 0.0)
    monkeypatch.setattr(server, "REST", 0.0)
    daemon = Daemon()
    page = daemon.page()
    await page.text()
    await page.text()
    assert daemon.taken == 2
    monkeypatch.setattr(server, "REST", 20.0)
    daemon.seconds = 100.0
    await page.text()
    await page.text()
    assert daemon.taken == 3


async def test_a_daemon_that_does_not_answer_or_fails_is_told_of_and_said_once(
    monkeypatch: pytest.MonkeyPatch, logs: list[structlog.typing.EventDict]
) -> None:
    monkeypatch.setattr(server, "SNAPSHOT_S", 0.05)
    monkeypatch.setattr(server, "FRESH_S", 0.0)
    monkeypatch.setattr(server, "REST", 0.0)
    daemon = Daemon()
    with served(daemon) as port:
        daemon.hangs = True
        for _ in range(2):
            assert parsed(body(await asked(port))).of("holofs_snapshot_success") == 0
        daemon.hangs, daemon.error = False, NoSpace("The disk is full.")
        monkeypatch.setattr(server, "SNAPSHOT_S", 30.0)
        assert parsed(body(await asked(port))).of("holofs_snapshot_success") == 0
        daemon.error = None
        assert parsed(body(await asked(port))).of("holofs_snapshot_success") == 1
    assert len([line for line in logs if line["log_level"] == "warning"]) == 1


async def test_a_blocked_loop_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "SNAPSHOT_S", 0.05)
    with served(Daemon()) as port:
        found = parsed(body(ask(port)))  # waits on the daemon's loop, which turns no more
        assert found.of("holofs_snapshot_success") == 0
        assert found.of("holofs_loop_blocked_seconds") == 0


async def test_a_port_that_is_taken_keeps_nothing_from_running(logs: list[structlog.typing.EventDict]) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        port = other.getsockname()[1]
        with serving_metrics(port, Daemon().page()) as place:
            assert place.port == 0
            assert place.problem.startswith(f"Port {port} cannot be used (Address already in use)")
    assert [line["event"] for line in logs] == ["metrics are not served"]


def test_any_user_of_another_machine_is_out_of_reach() -> None:
    sockets = listen(0)
    try:
        assert [one.getsockname()[0] for one in sockets] in (["127.0.0.1", "::1"], ["127.0.0.1"])
        assert len({one.getsockname()[1] for one in sockets}) == 1
    finally:
        for one in sockets:
            one.close()


@pytest.mark.parametrize(
    ("variable", "options", "port"),
    [("", {}, None), ("0", {}, 0), ("9467", {}, 9467), ("9467", {"metrics.port": "1234"}, 1234)],
)
def test_the_port_comes_from_the_option_or_else_the_environment(
    tmp_path: Path, variable: str, options: dict[str, str], port: int | None
) -> None:
    config = read_config(str(tmp_path), False, {"HOLOFS_METRICS_PORT": variable}, options)
    assert config.metrics_port == port
    assert read_config(str(tmp_path), False, {}).metrics_port is None
