# SPDX-License-Identifier: GPL-3.0-or-later
"""What a mount that is gone had promised: carried out from its journal, once, and never given up."""

from __future__ import annotations

import fcntl
from collections.abc import Callable
from pathlib import Path

import pytest

from holofs_api.journal import record
from holofs_api.v1 import filesystem_pb2 as pb
from holofsd.core.ids import ROOT_INO, Ino
from tests.fs.harness import Device, Program

TIME = 1_600_000_000_123_456_789


def entry(ino: int, name: bytes, data: bytes = b"promised", parent: int = ROOT_INO) -> pb.CreateRequest:
    return pb.CreateRequest(
        parent=parent, name=name, mode=0o640, ino=ino, data=data, mtime_ns=TIME, ctime_ns=TIME + 1, kept=True
    )


def journal(program: Program) -> Path:
    return Path(program.att.journal)


def write(path: Path, *requests: pb.CreateRequest) -> None:
    path.write_bytes(b"".join(record(request.SerializeToString()) for request in requests))


def lease(program: Program) -> Ino:
    return program.fs.lease(program.att)[0]


def restarted(device: Device) -> None:
    device.restart()


def attached_again(device: Device) -> None:
    device.attach()


@pytest.mark.parametrize("again", [restarted, attached_again])
async def test_what_is_in_a_journal_is_made_when_the_mount_is_gone(
    device: Device, program: Program, again: Callable[[Device], None]
) -> None:
    ino, path = lease(program), journal(program)
    assert device.fs.census().unsealed == 0
    write(path, entry(ino, b"one"), entry(ino + 1, b"two", b"x" * 50_000), entry(ino + 2, b"empty", b""))
    assert device.fs.census().unsealed > 0, "nobody is told that all is safe elsewhere"
    again(device)
    assert not path.exists()
    assert device.fs.census().unsealed == 0
    seen = device.attach("other")
    assert await seen.tree() == {"one": b"promised", "two": b"x" * 50_000, "empty": b""}
    found = await seen.stat("one")
    assert (found.ino, found.mode, found.mtime_ns, found.ctime_ns) == (ino, 0o640, TIME, TIME + 1)
    assert len(device.publish()) == 3


async def test_a_mount_whose_process_ended_is_let_go_with_its_journal(device: Device) -> None:
    program = device.attach("gone", pid=0)
    write(journal(program), entry(lease(program), b"one"))
    device.fs.detach(program.att)
    await device.fs.tend_once()
    assert await device.attach("other").tree() == {"one": b"promised"}


async def test_what_was_carried_out_before_is_not_made_again(device: Device, program: Program) -> None:
    ino, path = lease(program), journal(program)
    write(path, entry(ino, b"one"), entry(ino + 1, b"two"), pb.CreateRequest(ino=ino + 1))
    with path.open("rb") as mount:
        fcntl.flock(mount, fcntl.LOCK_EX)
        device.restart()
        assert path.exists(), "its mount lives"
        seen = device.attach("other")
        assert await seen.tree() == {"one": b"promised"}
        await seen.rename("one", "renamed")
        device.restart()
    device.restart()
    assert not path.exists()
    assert await device.attach("other").tree() == {"renamed": b"promised"}


async def test_what_came_to_the_name_since_stands_beside_it(device: Device, program: Program) -> None:
    write(journal(program), entry(lease(program), b"one"))
    await program.write("one", b"another")
    device.restart()
    assert set((await device.attach("other").tree()).values()) == {b"promised", b"another"}


@pytest.mark.parametrize("taken", [False, True])
async def test_what_has_no_directory_any_more_comes_to_lost_and_found(
    device: Device, program: Program, taken: bool
) -> None:
    await program.mkdir("d")
    parent = await program.walk("d")
    write(journal(program), entry(lease(program), b"one", parent=parent))
    await program.rmdir("d")
    if taken:
        await program.write("lost+found", b"a file of somebody")
    device.restart()
    tree = await device.attach("other").tree()
    expected = {"one": b"promised", "lost+found": b"a file of somebody"} if taken else {"lost+found/one": b"promised"}
    assert {path: data for path, data in tree.items() if data is not None} == expected


async def test_what_cannot_be_stored_now_is_stored_later(device: Device, program: Program) -> None:
    write(journal(program), entry(lease(program), b"one"))
    device.elsewhere.can_write = False
    device.restart()
    assert await device.attach("other").tree() == {}
    (left,) = (device.directory / "journals").iterdir()
    again = device.attach()
    assert left.exists(), "whoever comes with the same name writes to another file"
    assert again.att.journal == "", "a device that may only read promises nothing"
    device.elsewhere.can_write = True
    device.restart()
    assert await device.attach().tree() == {"one": b"promised"}
    assert not list((device.directory / "journals").iterdir())


async def test_a_number_that_a_restored_index_does_not_know_is_replaced(device: Device, program: Program) -> None:
    write(journal(program), entry(10**12, b"one"))
    device.restart()
    assert await device.attach("other").tree() == {"one": b"promised"}


async def test_a_record_that_is_cut_off_was_promised_to_nobody(device: Device, program: Program) -> None:
    ino, path = lease(program), journal(program)
    write(path, entry(ino, b"one"), entry(ino + 1, b"two"))
    path.write_bytes(path.read_bytes()[:-1])
    device.restart()
    assert await device.attach("other").tree() == {"one": b"promised"}
    assert not path.exists()


async def test_a_record_that_makes_no_sense_is_not_thrown_away(device: Device, program: Program) -> None:
    path = journal(program)
    path.write_bytes(record(b"\xff\xff\xff"))
    device.restart()
    assert len(list((device.directory / "journals").iterdir())) == 1
