# SPDX-License-Identifier: GPL-3.0-or-later
"""Open files: staging files that several handles and mounts share, finalizing, content from elsewhere, durability."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from blake3 import blake3

from holofsd.core.errors import BadArgument, BadHandle, ContentMoved, ContentUnavailable
from holofsd.core.ids import BlobHash
from holofsd.core.state import Blob, Inline, Pending
from holofsd.fs.settings import FsSettings
from holofsd.fs.types import CommitRequest, RemoteExtent, SetAttr
from tests.fs.harness import Device, Program, bytes_of, errno_of

BIG = b"0123456789" * 10_000


def _body(device: Device, path: str) -> object:
    state = device.volume.tree.state(device.node_at(path))
    assert state is not None
    (version,) = state.versions.values()
    return version.body


async def test_small_content_is_in_the_record_and_large_content_in_the_content_store(
    device: Device, program: Program
) -> None:
    await program.write("small", b"x" * 4096)
    await program.write("middle", b"x" * 4097)
    await program.write("large", BIG)
    assert isinstance(_body(device, "small"), Inline)
    assert isinstance(_body(device, "middle"), Blob)
    assert isinstance(_body(device, "large"), Pending)
    assert len(device.publish()) == 2, "nothing is published whose hash is not known"
    await device.fs.hasher.drain()
    assert _body(device, "large") == Blob(BlobHash(blake3(BIG).digest()))
    assert not list((device.directory / "staging").iterdir())
    assert len(device.publish()) == 1
    assert await program.tree() == {"small": b"x" * 4096, "middle": b"x" * 4097, "large": BIG}


async def test_hashing_changes_no_attribute(device: Device, program: Program) -> None:
    """tar compares ctime before and after it read a file."""
    await program.write("f", BIG)
    before = await program.stat("f")
    device.clock.advance(1)
    await device.fs.hasher.drain()
    assert await program.stat("f") == before


async def test_a_small_file_written_by_way_of_staging_ends_in_the_record(device: Device, program: Program) -> None:
    handle = await program.create("f")
    await program.fs.write(program.att, handle, 0, b"hello")
    await program.release(handle)
    assert _body(device, "f") == Inline(b"hello")
    assert not list((device.directory / "staging").iterdir())


async def test_an_unlinked_open_file_goes_on_and_never_comes_back(device: Device, program: Program) -> None:
    await program.write("f", b"old")
    handle = await program.open("f", write=True)
    ino = await program.walk("f")
    await program.unlink("f")
    assert await program.names() == []
    await program.fs.write(program.att, handle, 3, b"+new")
    assert await program.read_handle(handle) == b"old+new"
    await program.commit(handle, b"whole")
    assert await program.read_handle(handle) == b"whole"
    attr = await program.fs.set_attr(program.att, ino, SetAttr(mode=0o600, size=2))
    assert (attr.nlink, attr.mode, attr.size) == (0, 0o600, 2)
    await program.fs.fsync(program.att, handle, ino, None)
    await program.release(handle)
    await device.fs.hasher.drain()
    assert await program.names() == []
    assert device.publish() == []
    assert not list((device.directory / "staging").iterdir())
    assert await errno_of(program.fs.get_attr(program.att, ino)) == errno.ESTALE


async def test_an_unlinked_open_file_keeps_large_content_before_and_after_it_is_hashed(
    device: Device, program: Program
) -> None:
    await program.write("f", BIG)
    handle = await program.open("f")
    await program.unlink("f")
    assert await program.read_handle(handle) == BIG
    await device.fs.hasher.drain()
    assert await program.read_handle(handle) == BIG
    await program.release(handle)
    await device.fs.hasher.drain()
    assert not list((device.directory / "staging").iterdir())


async def test_two_mounts_write_one_staging_file_and_see_each_other(device: Device, program: Program) -> None:
    other = device.attach("other")
    await program.write("f", BIG)
    one, two = await program.open("f", write=True), await other.open("f", write=True)
    first = await program.fs.stage(program.att, one, empty=False, base=b"")
    second = await other.fs.stage(other.att, two, empty=False, base=b"")
    assert first == second
    with open(first.path, "r+b") as file:
        file.write(b"AAAA")
    assert (await other.read("f"))[:10] == b"AAAA456789"
    with open(first.path, "ab") as file:
        file.write(b"tail")
    assert (await other.stat("f")).size == len(BIG) + 4
    await program.release(one)
    assert device.fs.census().unfinalized == 1, "the other still writes"
    await other.release(two)
    assert device.fs.census().unfinalized == 0
    await device.fs.hasher.drain()
    assert await program.read("f") == b"AAAA" + BIG[4:] + b"tail"


async def test_two_handles_that_stage_at_once_get_one_copy(device: Device, program: Program) -> None:
    await program.write("f", BIG)
    await device.fs.hasher.drain()
    handles = [await program.open("f", write=True) for _ in range(5)]
    stagings = await asyncio.gather(
        *(program.fs.stage(program.att, handle, empty=False, base=b"") for handle in handles)
    )
    assert len(set(stagings)) == 1
    assert Path(stagings[0].path).read_bytes() == BIG


async def test_what_is_written_while_the_content_is_copied_is_not_lost(device: Device, program: Program) -> None:
    await program.write("f", BIG)
    await device.fs.hasher.drain()
    handles = [await program.open("f", write=True) for _ in range(2)]
    copying = asyncio.ensure_future(program.fs.stage(program.att, handles[0], empty=False, base=b""))
    await asyncio.sleep(0)
    await program.fs.fsync(program.att, handles[1], await program.walk("f"), b"kept")
    assert Path((await copying).path).read_bytes() == b"kept"
    assert len(list((device.directory / "staging").iterdir())) == 1
    for handle in handles:
        await program.release(handle)
    assert await program.read("f") == b"kept"


async def test_a_file_that_is_unlinked_while_it_is_copied_goes_on_as_an_orphan(
    device: Device, program: Program
) -> None:
    await program.write("f", BIG)
    await device.fs.hasher.drain()
    handle = await program.open("f", write=True)
    copying = asyncio.ensure_future(program.fs.stage(program.att, handle, empty=False, base=b""))
    await asyncio.sleep(0)
    await program.unlink("f")
    assert Path((await copying).path).read_bytes() == BIG
    await program.release(handle)
    assert await program.tree() == {}
    assert not list((device.directory / "staging").iterdir())


async def test_a_handle_released_while_its_content_is_copied_leaves_nothing(device: Device, program: Program) -> None:
    await program.write("f", BIG)
    await program.utime("f", 1_000_000_000)
    await device.fs.hasher.drain()
    handle = await program.open("f", write=True)
    copying = asyncio.ensure_future(program.fs.stage(program.att, handle, empty=False, base=b""))
    await asyncio.sleep(0)
    await program.release(handle)
    with pytest.raises(BadHandle):
        await copying
    assert device.fs.census().unfinalized == 0
    assert not list((device.directory / "staging").iterdir())
    assert await program.read("f") == BIG


async def test_opening_for_writing_without_writing_makes_no_version(device: Device, program: Program) -> None:
    await program.write("f", BIG)
    await program.utime("f", 1_700_000_000_123_456_789)
    await device.settle()
    before = await program.stat("f")
    handle = await program.open("f", write=True)
    await program.fs.stage(program.att, handle, empty=False, base=b"")
    assert await program.stat("f") == replace(before, writing=True)
    await program.release(handle)
    assert await program.stat("f") == before
    assert device.publish() == []


async def test_writing_again_what_was_finalized_a_moment_ago_is_not_missed(device: Device, program: Program) -> None:
    for digit in b"0123456789":
        handle = await program.create("f") if digit == 48 else await program.open("f", write=True)
        await program.fs.write(program.att, handle, 0, bytes([digit]) * 5000)
        await program.release(handle)
        assert await program.read("f") == bytes([digit]) * 5000


async def test_a_finalized_file_is_written_on_top_of(device: Device, program: Program) -> None:
    handle = await program.create("f")
    await program.put(handle, BIG)
    await program.commit(handle, seal=True)
    assert device.fs.census().unfinalized == 0
    finalized = bytes(await program.read("f"))
    await program.fs.write(program.att, handle, 0, b"x")
    await device.fs.hasher.drain()
    await program.release(handle)
    await device.fs.hasher.drain()
    assert finalized == BIG
    assert await program.read("f") == b"x" + BIG[1:]


async def test_content_that_is_elsewhere_is_fetched_when_it_is_asked_for(
    make_device: Callable[..., Device],
) -> None:
    there, here = make_device("there"), make_device("here")
    writer, reader = there.attach(), here.attach()
    await writer.write("f", BIG)
    await there.fs.hasher.drain()
    there.give_to(here, content=False)
    attr = await reader.stat("f")
    assert attr.remote
    assert attr.size == len(BIG)
    handle = here.new_handle()
    opened = await here.fs.open(reader.att, attr.ino, handle, write=False, truncate=False, base=b"")
    assert isinstance(opened.map.extents[0], RemoteExtent)
    with pytest.raises(ContentUnavailable):
        await here.fs.fetch(reader.att, attr.ino, opened.map.version, 0, 1)
    here.elsewhere.blobs[BlobHash(blake3(BIG).digest())] = BIG
    content = await here.fs.fetch(reader.att, attr.ino, opened.map.version, 0, 1)
    assert bytes_of(content) == BIG
    assert not (await reader.stat("f")).remote


async def test_content_that_was_lost_from_the_store_is_fetched_again(device: Device, program: Program) -> None:
    await program.write("f", BIG)
    await device.settle()
    hash = BlobHash(blake3(BIG).digest())
    device.store.content.path(hash).unlink()
    device.elsewhere.blobs[hash] = BIG
    attr = await program.stat("f")
    assert bytes_of(await program.fs.fetch(program.att, attr.ino, attr.version, 0, 1)) == BIG
    assert device.elsewhere.asked == [hash]


async def test_truncating_what_is_elsewhere_needs_no_content(make_device: Callable[..., Device]) -> None:
    there, here = make_device("there"), make_device("here")
    writer, reader = there.attach(), here.attach()
    await writer.write("f", BIG)
    await there.fs.hasher.drain()
    there.give_to(here, content=False)
    await reader.write("f", b"new")
    assert await reader.read("f") == b"new"
    assert here.elsewhere.asked == []


async def test_fsync_finalizes_nothing_and_closing_afterwards_loses_nothing(device: Device, program: Program) -> None:
    handle = await program.create("f")
    await program.fs.fsync(program.att, handle, await program.walk("f"), b"kept")
    assert device.fs.census().unfinalized == 1
    assert (await program.stat("f")).size == 4
    await program.commit(handle, b"kept, and more")
    await program.release(handle)
    assert await program.read("f") == b"kept, and more"
    await program.fs.fsync(program.att, 0, await program.walk(""), None)


async def test_a_file_fsynced_after_it_was_closed_is_hashed_all_the_same(device: Device, program: Program) -> None:
    await program.write("f", BIG)
    handle = await program.open("f")
    await program.fs.fsync(program.att, handle, await program.walk("f"), None)
    await device.fs.hasher.drain()
    await program.fs.fsync(program.att, handle, await program.walk("f"), None)
    await program.release(handle)
    assert await program.read("f") == BIG
    assert not list((device.directory / "staging").iterdir())


async def test_a_file_that_stays_open_gets_a_version_after_a_while_of_quiet(make_device: Callable[..., Device]) -> None:
    device = make_device(settings=FsSettings(snapshot_every=0))
    program = device.attach()
    handle = await program.create("f")
    await program.fs.write(program.att, handle, 0, BIG)
    await device.fs.tend_once()
    assert _body(device, "f") == Inline(b""), "it was written to just now"
    device.clock.advance(6)
    await device.fs.tend_once()
    await device.settle()
    assert _body(device, "f") == Blob(BlobHash(blake3(BIG).digest()))
    version = (await program.stat("f")).version
    await device.fs.tend_once()
    assert (await program.stat("f")).version == version, "nothing was written since"
    await program.fs.write(program.att, handle, 0, b"x")
    await program.release(handle)
    await device.settle()
    assert await program.read("f") == b"x" + BIG[1:]
    assert device.fs.census().conflicts == 0


async def test_a_handle_that_is_closed_is_refused(device: Device, program: Program) -> None:
    handle = await program.create("f")
    await program.release(handle)
    with pytest.raises(BadHandle):
        await program.release(handle)
    reader = await program.open("f")
    with pytest.raises(BadHandle):
        await program.commit(reader, b"x")
    with pytest.raises(BadHandle):
        await program.fs.stage(program.att, reader, empty=True, base=b"")


async def test_sizes_and_times_set_on_an_open_file_are_those_of_what_is_written(
    device: Device, program: Program
) -> None:
    handle = await program.create("f")
    await program.fs.write(program.att, handle, 0, BIG)
    attr = await program.utime("f", 1_000_000_000_000_000_001)
    assert attr.mtime_ns == 1_000_000_000_000_000_001
    await program.truncate("f", 70_000)
    await program.utime("f", 1_000_000_000_000_000_002)
    await program.release(handle)
    attr = await program.stat("f")
    assert (attr.size, attr.mtime_ns) == (70_000, 1_000_000_000_000_000_002)


async def test_content_from_memory_does_not_replace_what_another_mount_appended(
    device: Device, program: Program
) -> None:
    handle = await program.create("f")
    seen = (await program.stat("f")).version

    async def hands_over(data: bytes, onto: bytes) -> None:
        await program.fs.commit(program.att, CommitRequest(handle, data=data, onto=onto))

    await hands_over(b"mine\n", seen)
    with pytest.raises(ContentMoved):
        await hands_over(b"mine\n", seen)
    seen = (await program.stat("f")).version
    other = await program.open("f", write=True)
    staged = Path((await program.fs.stage(program.att, other, empty=False, base=b"")).path)
    staged.write_bytes(b"mine\nits\n")
    ino = await program.walk("f")
    for hand_over in (
        lambda: hands_over(b"mine\nagain\n", seen),
        lambda: program.fs.fsync(program.att, handle, ino, b"mine\nagain\n", seen),
    ):
        with pytest.raises(ContentMoved):
            await hand_over()
    await program.release(other)
    with pytest.raises(ContentMoved):
        await hands_over(b"mine\nagain\n", seen)
    await program.release(handle)
    assert await program.read("f") == b"mine\nits\n"


async def test_content_goes_on_from_what_the_last_fsync_brought(device: Device, program: Program) -> None:
    handle = await program.create("f")
    ino, seen = await program.walk("f"), (await program.stat("f")).version
    await program.fs.fsync(program.att, handle, ino, b"kept", seen)
    await program.fs.fsync(program.att, handle, ino, b"kept, and more", seen)
    other = await program.open("f", write=True)
    await program.fs.stage(program.att, other, empty=False, base=b"")
    with pytest.raises(ContentMoved):  # it may write at any moment
        await program.fs.fsync(program.att, handle, ino, b"kept, and more, and more", seen)
    await program.release(other)
    await program.release(handle)
    assert await program.read("f") == b"kept, and more"


@pytest.mark.parametrize("truncate", [False, True])
async def test_opening_again_with_one_handle_is_opening_once(device: Device, program: Program, truncate: bool) -> None:
    """The answer did not arrive in time, so the mount asked again."""
    await program.write("f", b"content")
    ino = await program.walk("f")
    for _ in range(2):
        await device.fs.open(program.att, ino, 77, write=True, truncate=truncate, base=b"")
    await program.release(77)
    assert not device.fs._scope.files.inos()
    await program.write("g", b"another")
    await device.fs.open(program.att, ino, 78, write=True, truncate=False, base=b"")
    with pytest.raises(BadArgument):
        await device.fs.open(program.att, await program.walk("g"), 78, write=True, truncate=False, base=b"")
    with pytest.raises(BadArgument):
        await device.fs.open(program.att, ino, 78, write=False, truncate=False, base=b"")
