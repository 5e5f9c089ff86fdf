# SPDX-License-Identifier: GPL-3.0-or-later
"""Async creates: files that a mount made before it told the daemon."""

from __future__ import annotations

import pytest

from holofsd.core.errors import BadArgument, ReadOnly, TooBig
from holofsd.core.ids import ROOT_INO, Ino
from holofsd.fs.settings import INLINE_COMMIT
from holofsd.fs.types import AsyncCreate, Attr, CreateRequest
from tests.fs.harness import Device, Program

TIME = 1_600_000_000_123_456_789


async def make(program: Program, name: bytes, create: AsyncCreate, handle: int = 0) -> Attr:
    made = await program.fs.create(
        program.att, CreateRequest(ROOT_INO, name, 0o640, handle=handle, async_create=create)
    )
    return made.attr


def numbers(program: Program) -> Ino:
    return program.fs.lease(program.att)[0]


@pytest.mark.parametrize("size", [0, 3, 5_000, INLINE_COMMIT])
async def test_it_comes_with_its_number_content_mode_and_time(device: Device, program: Program, size: int) -> None:
    ino = numbers(program)
    attr = await make(program, b"f", AsyncCreate(ino, b"x" * size, TIME))
    assert (attr.ino, attr.size, attr.mode, attr.mtime_ns) == (ino, size, 0o640, TIME)
    assert await program.read("f") == b"x" * size
    await device.settle()
    device.restart()
    again = device.attach()
    assert await again.tree() == {"f": b"x" * size}
    assert (await again.stat("f")).ino == ino


async def test_numbers_are_leased_once(device: Device, program: Program) -> None:
    first, count = program.fs.lease(program.att)
    second, _ = program.fs.lease(program.att)
    assert second == first + count
    await program.write("ordinary", b"")
    assert (await program.stat("ordinary")).ino >= second + count
    device.restart()
    assert numbers(device.attach()) > second


async def test_said_twice_it_is_made_once(device: Device, program: Program) -> None:
    ino = numbers(program)
    for _ in range(2):
        await make(program, b"f", AsyncCreate(ino, b"x", TIME))
    assert await program.tree() == {"f": b"x"}
    assert len(device.publish()) == 1


async def test_what_came_to_its_name_since_stands_beside_it(device: Device, program: Program) -> None:
    await program.write("f", b"came first")
    attr = await make(program, b"f", AsyncCreate(numbers(program), b"promised", TIME))
    assert attr.size == 8
    assert sorted((await program.tree()).values(), key=repr) == [b"came first", b"promised"]
    assert (await program.stat("f")).ino == attr.ino


async def test_a_name_that_was_vacated_a_moment_ago_keeps_its_node(device: Device, program: Program) -> None:
    await program.write("f", b"before")
    await device.settle()
    node = device.node_at("f")
    await program.unlink("f")
    await make(program, b"f", AsyncCreate(numbers(program), b"after", TIME))
    assert device.node_at("f") == node
    assert await program.tree() == {"f": b"after"}


async def test_one_that_is_still_open_is_written_through_its_handle(device: Device, program: Program) -> None:
    ino = numbers(program)
    for _ in range(2):  # as after a daemon that died before it answered
        await make(program, b"f", AsyncCreate(ino), handle=77)
    await program.commit(77, b"through the handle", release=True)
    assert await program.tree() == {"f": b"through the handle"}


async def test_numbers_of_no_lease_and_content_without_measure_are_refused(device: Device, program: Program) -> None:
    first, count = program.fs.lease(program.att)
    with pytest.raises(BadArgument):
        await make(program, b"f", AsyncCreate(Ino(first + count), b"x", TIME))
    with pytest.raises(TooBig):
        await make(program, b"f", AsyncCreate(first, b"x" * (INLINE_COMMIT + 1), TIME))
    reader = device.attach("reader", read_only=True)
    assert reader.fs.lease(reader.att)[1] == 0
    with pytest.raises(ReadOnly):
        await make(reader, b"f", AsyncCreate(first, b"x", TIME))
    assert await program.tree() == {}
