# SPDX-License-Identifier: GPL-3.0-or-later
"""Real daemons with wrong clocks: nothing waits for time to pass, and a person is told."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from support.device import World
from support.trees import contents
from support.wait import until
from support.wrong_clock import WrongClock, leave_nothing


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    """Clean up after the world of the test is gone."""
    yield
    leave_nothing()


def holds(folder: Path, text: str) -> bool:
    return folder.joinpath("file").read_text() == text


def test_two_devices_ninety_seconds_apart_converge_at_once_and_say_so(world: World) -> None:
    a, b = world.device("a"), world.device("b")
    a.up()
    clock = WrongClock(b.home, "+90")
    b.start_daemon(**clock.environment)
    a.create()
    b.join(a.share())
    here, there = a.mount(), b.mount()
    until(lambda: a.volume_status()["devices"][0]["connected"], "a session")
    began = time.monotonic()
    for turn in range(5):
        here.joinpath("file").write_text(f"a{turn}")
        until(partial(holds, there, f"a{turn}"), "b to have it")
        there.joinpath("file").write_text(f"b{turn}")
        until(partial(holds, here, f"b{turn}"), "a to have it")
    assert time.monotonic() - began < 45, "nobody waits for a clock"
    told = a.status()["warnings"]
    assert any("clock of b is 90 s ahead of this device" in warning for warning in told), told
    assert any("clock of a is 90 s behind this device" in warning for warning in b.status()["warnings"])
    assert abs(a.volume_status()["devices"][0]["clock_ahead_ms"] - 90_000) < 5_000


def test_a_clock_that_steps_back_and_forth_loses_nothing(world: World) -> None:
    a, b = world.device("a"), world.device("b")
    a.up()
    clock = WrongClock(b.home)
    b.start_daemon(**clock.environment)
    a.create()
    b.join(a.share())
    here, there = a.mount(), b.mount()
    for turn, offset in enumerate(("+0", "-3600", "+7200", "-100", "+0")):
        clock.set(offset)
        there.joinpath("file").write_text(f"b{turn}")
        there.joinpath(f"new{turn}").write_text(offset)
        until(partial(holds, here, f"b{turn}"), f"a to have it at {offset}")
        here.joinpath("file").write_text(f"a{turn}")
        until(partial(holds, there, f"a{turn}"), f"b to have it at {offset}")
        b.ctl("wait", "docs", "--timeout", "30s")
    assert sorted(contents(here)) == ["file", *(f"new{turn}" for turn in range(5))]
    assert contents(here) == contents(there)
