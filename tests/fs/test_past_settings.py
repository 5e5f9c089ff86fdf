# SPDX-License-Identifier: GPL-3.0-or-later
"""The past shows files with the modes, attributes, times and targets that they had then."""

from __future__ import annotations

from datetime import datetime

import pytest

from holofsd.core.errors import NoAttribute
from holofsd.core.retention import DAY_S, HistoryPolicy
from tests.fs.harness import Device, Program

LONG_AGO = 1_600_000_000_000_000_000


def pause(device: Device) -> str:
    """A minute and more goes by; what a person would call a moment within it."""
    device.clock.advance(70)
    said = datetime.fromtimestamp(device.clock.now_ns() / 1e9).isoformat(" ", "seconds")
    device.clock.advance(70)
    return f".holofs/at/{said}"


async def xattrs(program: Program, path: str) -> dict[bytes, bytes]:
    ino = await program.walk(path)
    names = await program.fs.list_xattr(program.att, ino)
    return {name: await program.fs.get_xattr(program.att, ino, name) for name in names}


async def set_xattr(program: Program, path: str, name: bytes, value: bytes) -> None:
    ino = await program.walk(path)
    await program.fs.set_xattr(program.att, ino, name, value, create=False, replace=False)


def rows(device: Device) -> int:
    return device.store.db.number("SELECT count(*) FROM past_settings")


async def test_modes_are_those_of_then(device: Device, program: Program) -> None:
    await program.mkdir("d", 0o750)
    await program.write("d/a", b"x")
    first = pause(device)
    await program.chmod("d/a", 0o600)
    await program.chmod("d", 0o700)
    second = pause(device)
    await program.chmod("d/a", 0o755)
    await program.write("d/a", b"longer")
    device.clock.advance(2)
    modes = [((await program.stat(f"{at}/d")).mode, (await program.stat(f"{at}/d/a")).mode) for at in (first, second)]
    assert modes == [(0o750, 0o644), (0o700, 0o600)]
    assert (await program.stat("d/a")).mode == 0o755


async def test_a_mode_that_came_with_a_file_renamed_over_it_was_not_there_before(
    device: Device, program: Program
) -> None:
    await program.write("a", b"x")
    at = pause(device)
    await program.write("a.new", b"y")
    await program.chmod("a.new", 0o755)
    await program.rename("a.new", "a")
    assert ((await program.stat("a")).mode, (await program.stat(f"{at}/a")).mode) == (0o755, 0o644)


async def test_extended_attributes_are_those_of_then(device: Device, program: Program) -> None:
    await program.write("a", b"x")
    bare = pause(device)
    await set_xattr(program, "a", b"user.colour", b"red")
    red = pause(device)
    await set_xattr(program, "a", b"user.colour", b"blue")
    await set_xattr(program, "a", b"user.shape", b"round")
    blue = pause(device)
    await program.fs.remove_xattr(program.att, await program.walk("a"), b"user.colour")
    assert await xattrs(program, f"{bare}/a") == {}
    assert await xattrs(program, f"{red}/a") == {b"user.colour": b"red"}
    assert await xattrs(program, f"{blue}/a") == {b"user.colour": b"blue", b"user.shape": b"round"}
    assert [(await program.stat(f"{at}/a")).has_xattrs for at in (bare, red)] == [False, True]
    with pytest.raises(NoAttribute):
        await program.fs.get_xattr(program.att, await program.walk(f"{bare}/a"), b"user.colour")


async def test_times_are_those_of_then(device: Device, program: Program) -> None:
    await program.mkdir("d")
    await program.write("d/a", b"x")
    before = (await program.stat("d/a")).mtime_ns
    untouched = pause(device)
    await program.utime("d/a", LONG_AGO)
    await program.utime("d", LONG_AGO)
    touched = pause(device)
    await program.write("d/b", b"a name more")
    device.clock.advance(2)
    assert (await program.stat(f"{untouched}/d/a")).mtime_ns == before
    assert abs((await program.stat(f"{untouched}/d")).mtime_ns - before) < 10**9
    assert (await program.stat(f"{touched}/d/a")).mtime_ns == LONG_AGO
    assert (await program.stat(f"{touched}/d")).mtime_ns == LONG_AGO


async def test_a_symlink_leads_where_it_led(device: Device, program: Program) -> None:
    await program.symlink("old", "link")
    at = pause(device)
    await program.symlink("new", "link.new")
    await program.rename("link.new", "link")
    device.clock.advance(2)
    read = program.fs.read_link
    assert await read(program.att, await program.walk(f"{at}/link")) == b"old"
    assert await read(program.att, await program.walk("link")) == b"new"


async def test_what_copying_sets_one_by_one_leaves_no_trace(device: Device, program: Program) -> None:
    await program.write("a", b"x")
    await program.chmod("a", 0o600)
    await program.utime("a", LONG_AGO)
    await set_xattr(program, "a", b"user.colour", b"red")
    assert rows(device) == 0
    pause(device)
    await program.write("a", b"y")
    await program.chmod("a", 0o600)
    assert rows(device) == 0


async def test_a_restored_file_beside_the_present_one_has_what_it_had_then(device: Device, program: Program) -> None:
    await program.write("a", b"x")
    await set_xattr(program, "a", b"user.colour", b"red")
    device.clock.advance(70)
    at_ms = device.clock.now_ns() // 1_000_000
    device.clock.advance(70)
    await program.chmod("a", 0o755)
    await set_xattr(program, "a", b"user.colour", b"blue")
    await device.fs.history.restoring.restore(b"a", at_ms=at_ms, to=b"b")
    assert (await program.stat("b")).mode == 0o644
    assert await xattrs(program, "b") == {b"user.colour": b"red"}


async def test_they_are_kept_as_long_as_versions_are(device: Device, program: Program) -> None:
    device.clock.advance(DAY_S - device.clock.now_ns() // 10**9 % DAY_S)  # all of it on one day
    await program.write("a", b"x")
    for mode in (0o600, 0o640, 0o644):
        pause(device)
        await program.chmod("a", mode)
    assert rows(device) == 3
    device.fs.history.retention.set_policy(HistoryPolicy(DAY_S, 3 * DAY_S))
    device.clock.advance(2 * DAY_S)
    await device.fs.history.retention.tidy()
    assert rows(device) == 1
    device.clock.advance(2 * DAY_S)
    await device.fs.history.retention.tidy()
    assert rows(device) == 0
