# SPDX-License-Identifier: GPL-3.0-or-later
"""A server with a fake device behind it, on a real Unix socket."""

from __future__ import annotations

import asyncio
import io
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from holofsctl import main as program
from holofsd.rpc.server import serving
from support import json_documents
from support.fake_device import FakeDevice

Run = Callable[..., Awaitable[tuple[int, str, str]]]
"""What a command line is given; its exit code, standard output and standard error."""


@pytest.fixture
def state() -> Iterator[Path]:
    # Short, because a Unix socket's path has 107 bytes.
    with tempfile.TemporaryDirectory(prefix="hfs-rpc-") as folder:
        yield Path(folder)


@pytest.fixture
async def device(state: Path) -> AsyncIterator[FakeDevice]:
    fake = FakeDevice()
    async with serving(fake, state / "holofsd.sock"):
        yield fake


@pytest.fixture
async def channel(state: Path, device: FakeDevice) -> AsyncIterator[Any]:
    async with grpc.aio.insecure_channel(f"unix:{state}/holofsd.sock") as opened:
        yield opened


@pytest.fixture
def run(state: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """holofsctl on this state directory, in this process; without `stdin`, standard input is what it is. What it prints
    as JSON has to fit its schema."""

    async def command(*arguments: str, stdin: str | None = None) -> tuple[int, str, str]:
        if stdin is not None:
            monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        try:
            code = await asyncio.to_thread(program.main, ["--state-dir", str(state), *arguments])
        except SystemExit as ended:
            code = int(ended.code or 0)
        told = capsys.readouterr()
        if "--json" in arguments:
            json_documents.check(arguments, told.out, told.err)
        return code, told.out, told.err

    return command
