# SPDX-License-Identifier: GPL-3.0-or-later
"""A server with a fake device behind it, on a real Unix socket."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from holofsd.rpc.server import serving
from support.fake_device import FakeDevice


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
