# SPDX-License-Identifier: GPL-3.0-or-later
"""Virtual attributes `user.holofs.*`: what they say of files, folders and conflict copies; they are never stored."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from blake3 import blake3

from holofs_api.virtual_attributes import CONFLICT, DEVICE, HASH, NAMES, PREFIX, STATE, WRITTEN
from holofsd.core.edit import with_xattr
from holofsd.core.ids import ROOT_INO
from tests.fs.harness import Device, Program, errno_of


async def ask(program: Program, path: str, name: bytes) -> bytes:
    return await program.fs.get_xattr(program.att, await program.walk(path), name)


async def is_missing(program: Program, path: str, name: bytes) -> bool:
    return await errno_of(ask(program, path, name)) == errno.ENODATA


async def state(program: Program, path: str) -> bytes:
    return await ask(program, path, STATE)


async def test_they_say_who_wrote_a_file_and_when_and_its_hash(device: Device, program: Program) -> None:
    before = device.clock.now_ns() / 1e9
    for path, data in (("small", b"x"), ("large", b"x" * 100_000)):
        await program.write(path, data)
        assert await ask(program, path, DEVICE) == b"here"
        written = (await ask(program, path, WRITTEN)).decode()
        assert written.endswith("Z")
        assert before - 0.01 <= datetime.fromisoformat(written).timestamp() <= device.clock.now_ns() / 1e9
        await device.fs.hasher.drain()
        assert (await ask(program, path, HASH)).decode() == blake3(data).hexdigest()
        assert await is_missing(program, path, CONFLICT)


async def test_content_that_is_not_hashed_yet_has_no_hash(program: Program) -> None:
    await program.write("large", b"x" * 100_000)
    assert await is_missing(program, "large", HASH)


async def test_the_state_follows_a_file_from_writing_to_published(device: Device, program: Program) -> None:
    handle = await program.create("f")
    await program.fs.stage(program.att, handle, empty=True, base=b"")
    assert await state(program, "f") == b"writing"
    assert await is_missing(program, "f", HASH)
    await program.put(handle, b"x" * 100_000)
    await program.release(handle)
    assert await state(program, "f") == b"unpublished"
    await device.settle()
    assert await state(program, "f") == b"published"
    handle = await program.open("f")
    ino = await program.walk("f")
    await program.unlink("f")
    assert await program.fs.get_xattr(program.att, ino, STATE) == b"removed"
    await program.release(handle)


async def test_a_file_from_elsewhere_is_remote_until_its_content_is_here(make_device: Callable[..., Device]) -> None:
    here, there = make_device("here"), make_device("there")
    program, other = here.attach(), there.attach()
    await program.write("f", b"x" * 100_000)
    await here.settle()
    here.give_to(there, content=False)
    assert (await state(other, "f"), await ask(other, "f", DEVICE)) == (b"remote", b"here")
    assert (await ask(other, "f", HASH)).decode() == blake3(b"x" * 100_000).hexdigest()
    here.give_to(there)
    assert await state(other, "f") == b"published"
    await program.write("f", b"y" * 100_000)
    await here.settle()
    here.give_to(there, content=False)
    assert await state(other, "f") == b"arriving"
    assert (await ask(other, "f", HASH)).decode() == blake3(b"x" * 100_000).hexdigest(), "of what is shown"


async def test_a_conflict_copy_says_of_which_name_and_by_whom(make_device: Callable[..., Device]) -> None:
    here, there = make_device("here"), make_device("there")
    program, other = here.attach(), there.attach()
    await program.mkdir("d")
    await program.write("d/plan.txt", b"as both had it")
    here.give_to(there)
    await program.write("d/plan.txt", b"as here has it")
    there.clock.advance(5)
    await other.write("d/plan.txt", b"as there has it")
    there.give_to(here)
    copy, original = sorted(await program.names("d"))
    assert original == "plan.txt"
    assert await ask(program, f"d/{copy}", CONFLICT) == b"plan.txt"
    assert await ask(program, f"d/{copy}", DEVICE) == b"here"
    assert (await ask(program, f"d/{copy}", HASH)).decode() == blake3(b"as here has it").hexdigest()
    assert await ask(program, "d/plan.txt", DEVICE) == b"there"
    assert await is_missing(program, "d/plan.txt", CONFLICT)


async def test_folders_have_them_too(device: Device, program: Program) -> None:
    await program.mkdir("d")
    assert (await ask(program, "d", DEVICE), await state(program, "d")) == (b"here", b"unpublished")
    assert (await ask(program, "d", WRITTEN)).endswith(b"Z")
    assert await is_missing(program, "d", HASH)
    assert await program.fs.get_xattr(program.att, ROOT_INO, STATE) == b"published"
    for name in (DEVICE, WRITTEN, HASH, CONFLICT):
        assert await errno_of(program.fs.get_xattr(program.att, ROOT_INO, name)) == errno.ENODATA


async def test_they_are_not_listed_and_cannot_be_set_or_removed(program: Program) -> None:
    await program.write("f", b"x")
    ino = await program.walk("f")
    assert await program.fs.list_xattr(program.att, ino) == ()
    assert not (await program.stat("f")).has_xattrs
    for name in (*NAMES, PREFIX, PREFIX + b"later"):
        refused = program.fs.set_xattr(program.att, ino, name, b"", create=False, replace=False)
        assert await errno_of(refused) == errno.EOPNOTSUPP
        assert await errno_of(program.fs.remove_xattr(program.att, ino, name)) == errno.EOPNOTSUPP
    assert await is_missing(program, "f", PREFIX + b"later")


async def test_what_an_earlier_program_stored_under_such_a_name_is_not_seen(device: Device, program: Program) -> None:
    await program.write("f", b"x")
    ino = await program.walk("f")
    await program.fs.set_xattr(program.att, ino, b"user.own", b"1", create=False, replace=False)
    stored = device.volume.tree.state(device.node_at("f"))
    assert stored is not None
    stored = with_xattr(stored, DEVICE, b"false", device.volume.stamp())
    stored = with_xattr(stored, PREFIX + b"old", b"1", device.volume.stamp())
    with device.store.db.transaction():
        device.volume.merge([replace(stored)])
    assert await program.fs.list_xattr(program.att, ino) == (b"user.own",)
    assert await ask(program, "f", DEVICE) == b"here"
    assert await is_missing(program, "f", PREFIX + b"old")


async def test_the_past_says_who_wrote_it(device: Device, program: Program) -> None:
    await program.write("f", b"of then")
    device.clock.advance(70)
    at = datetime.fromtimestamp(device.clock.now_ns() / 1e9).isoformat(" ", "seconds")
    device.clock.advance(70)
    await program.write("f", b"of now")
    then = f".holofs/at/{at}/f"
    assert (await ask(program, then, DEVICE), await state(program, then)) == (b"here", b"past")
    assert (await ask(program, then, HASH)).decode() == blake3(b"of then").hexdigest()
    assert await is_missing(program, ".holofs/at", DEVICE)
