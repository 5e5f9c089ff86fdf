# SPDX-License-Identifier: GPL-3.0-or-later
"""Real daemons with wrong clocks: nothing waits for time to pass, and a person is told."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from support.device import Device, World
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


def says(device: Device, words: str) -> bool:
    return any(re.search(words, warning) for warning in device.status()["warnings"])


def test_two_devices_ninety_seconds_apart_converge_at_once_and_say_so(world: World) -> None:
    a, b = world.device("a"), world.device("b")
    a.up()
    clock = WrongClock(b.home, "+90")
    b.start_daemon(**clock.environment)
    a.create()
    b.join(a.share())
    here, there = a.mount(), b.mount()
    until(lambda: a.volume_status()["devices"][0]["connected"], "a session")
    # Each wait is shorter than what the clocks differ by: a device that waited for a clock would be too late.
    for turn in range(5):
        here.joinpath("file").write_text(f"a{turn}")
        until(partial(holds, there, f"a{turn}"), "b to have it")
        there.joinpath("file").write_text(f"b{turn}")
        until(partial(holds, here, f"b{turn}"), "a to have it")
    # Measured by questions and answers, so a busy machine makes it a little wrong for a while.
    until(lambda: says(a, r"clock of b is (8[5-9]|9[0-5]) s ahead of this device"), "a to say that b is ahead")
    until(lambda: says(b, r"clock of a is (8[5-9]|9[0-5]) s behind this device"), "b to say that a is behind")
    until(lambda: abs(a.volume_status()["devices"][0]["clock_ahead_ms"] - 90_000) < 5_000, "a to measure the clock")


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
    wanted = {"file", *(f"new{turn}" for turn in range(5))}
    until(lambda: contents(here).keys() == wanted and contents(here) == contents(there), "both to have everything")
