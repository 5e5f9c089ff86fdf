# SPDX-License-Identifier: GPL-3.0-or-later
"""The composition root (being written)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from holofsd.daemon.config import Config


@asynccontextmanager
async def running(config: Config, stop: asyncio.Event) -> AsyncIterator[Any]:
    raise NotImplementedError
    yield
