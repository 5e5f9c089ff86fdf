# SPDX-License-Identifier: GPL-3.0-or-later
"""Devices in temporary directories, closed at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from holofsd.fs.settings import FsSettings
from tests.fs.harness import Device, Program


@pytest.fixture
def make_device(tmp_path: Path) -> Iterator[Callable[..., Device]]:
    made: list[Device] = []

    def make(name: str = "here", settings: FsSettings | None = None) -> Device:
        device = Device(tmp_path / name, name, settings)
        made.append(device)
        return device

    yield make
    for device in made:
        device.kill()


@pytest.fixture
def device(make_device: Callable[..., Device]) -> Device:
    return make_device()


@pytest.fixture
def program(device: Device) -> Program:
    return device.attach()
