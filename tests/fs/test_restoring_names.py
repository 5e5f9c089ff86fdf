# SPDX-License-Identifier: GPL-3.0-or-later
"""Restoring one name after another: hard links, folders that were moved, names that something else has now."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.fs.harness import Device, Program
from tests.fs.test_conflicts import Pair
from tests.fs.test_history import restore, save, settle
from tests.fs.test_history_of_paths import listed
from tests.fs.test_restoring_folders import one_file, remove_all


async def echo(program: Program, path: str, data: bytes) -> None:
    """Write as `echo >path` does on a mount: others have heard of the empty file before the line is written."""
    handle = await program.create(path)
    await program.commit(handle, b"")
    await settle(program.device)
    program.device.clock.advance(0.01)
    await program.commit(handle, data, release=True)
    await settle(program.device)


PAUSES = [pytest.param(2, id="at once"), pytest.param(65, id="after a minute")]


# ---- one name of a removed file after the other
@pytest.mark.parametrize("pause", PAUSES)
@pytest.mark.parametrize("order", [("d/a", "d/b"), ("d/b", "d/a")])
async def test_each_name_of_a_removed_file_comes_back_as_a_name_of_it(
    device: Device, program: Program, pause: int, order: tuple[str, str]
) -> None:
    first, second = order
    await program.mkdir("d")
    await echo(program, "d/a", b"L\n")
    await program.link("d/a", "d/b")
    await echo(program, "d/z", b"Z\n")
    device.clock.advance(pause)
    await remove_all(program, "d")
    device.clock.advance(pause)
    before = listed(device, second)
    assert b"L\n" in before
    await restore(device, first)
    assert b"L\n" in listed(device, second)
    assert await restore(device, second) == [(second, "restored")]
    assert await program.tree() == {"d": None, "d/a": b"L\n", "d/b": b"L\n"}
    assert await one_file(program, "d/a", "d/b")


@pytest.mark.parametrize("pause", PAUSES)
async def test_the_other_name_comes_back_with_what_it_had_though_the_file_went_on(
    device: Device, program: Program, pause: int
) -> None:
    await echo(program, "m", b"M")
    await program.link("m", "n")
    device.clock.advance(pause)
    for name in ("m", "n"):
        await program.unlink(name)
    device.clock.advance(pause)
    await restore(device, "n")
    await save(program, "n", b"it went on")
    assert b"it went on" not in listed(device, "m")
    await restore(device, "m")
    assert await program.tree() == {"m": b"M", "n": b"it went on"}


@pytest.mark.parametrize(("first", "second"), [("m", "n"), ("n", "m")])
async def test_a_name_of_a_file_comes_back_though_its_writer_had_a_clock_that_is_ahead(
    make_device: Callable[..., Device], first: str, second: str
) -> None:
    a, b = make_device("alpha"), make_device("beta")
    pair = Pair(a, b, a.attach(), b.attach())
    await save(pair.pa, "m", b"first")
    await pair.pa.link("m", "n")
    await pair.meet()
    b.clock.advance(3600)
    await save(pair.pb, "m", b"from the future")
    await pair.meet()
    a.clock.advance(61)
    for name in ("m", "n"):
        await pair.pa.unlink(name)
    a.clock.advance(61)
    await restore(a, first)
    assert b"from the future" in listed(a, second)
    await restore(a, second)
    assert await pair.pa.read(second) == b"from the future"
    assert await one_file(pair.pa, "m", "n")


async def test_what_was_written_again_is_what_stood_then(device: Device, program: Program) -> None:
    """A restored file has the content of before once more: the time before shows that, and nothing older."""
    await save(program, "f", b"older")
    await save(program, "f", b"content")
    at_ms = device.volume.now_ms()
    device.clock.advance(60)
    await program.unlink("f")
    device.clock.advance(60)
    await restore(device, "f")
    await restore(device, "f", at_ms=at_ms, to=b"then")
    assert await program.read("then") == b"content"
