# SPDX-License-Identifier: GPL-3.0-or-later
"""Refusals, and how they show: names, readers, a full disk, links, extended attributes."""

from __future__ import annotations

import errno
import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from holofs_api.numbers import MAX_INTEGER, MAX_TIME_NS, MIN_TIME_NS
from holofs_api.v1 import filesystem_pb2 as pb
from holofsd.codec.checks import MAX_NUMBER
from holofsd.codec.records import decode_state, encode_state
from holofsd.core import edit
from holofsd.core.clock import MAX_WALL_MS
from holofsd.core.errors import BadArgument, NameTooLong, NoSpace, ReadOnly
from holofsd.core.ids import ROOT_ID, ROOT_INO, AuthorId, BlobHash, Dot, Hlc, NodeId
from holofsd.core.state import Blob, Body, Kind, Marker, NodeState, Place, Register, Version
from holofsd.fs.types import RenameFlags, SetAttr
from holofsd.rpc.fs_convert import fill_attr
from tests.fs.harness import Device, Program, errno_of


@pytest.mark.parametrize("name", [b"", b".", b"..", b"a/b", b"a\0b"])
async def test_names_that_no_file_can_have_are_refused(program: Program, name: bytes) -> None:
    fs, att = program.fs, program.att
    with pytest.raises(BadArgument):
        await fs.make_dir(att, ROOT_INO, name, 0o755)
    with pytest.raises(BadArgument):
        await fs.lookup(att, ROOT_INO, name)


async def test_a_name_has_255_bytes_of_any_kind(program: Program) -> None:
    with pytest.raises(NameTooLong):
        await program.mkdir("x" * 256)
    await program.mkdir("x" * 255)
    await program.fs.symlink(program.att, ROOT_INO, b"\xff\xfe not UTF-8", b"\xff")
    assert await program.names() == ["x" * 255, "\udcff\udcfe not UTF-8"]


async def _every_change(program: Program) -> list[int]:
    """Tries each operation that changes something on the file `f` and the directory `d`; the errno of each."""
    fs, att = program.fs, program.att
    f, d = await program.walk("f"), await program.walk("d")
    return [
        await errno_of(program.create("new")),
        await errno_of(program.mkdir("new")),
        await errno_of(program.symlink("x", "new")),
        await errno_of(program.link("f", "new")),
        await errno_of(program.unlink("f")),
        await errno_of(program.rmdir("d")),
        await errno_of(program.rename("f", "new")),
        await errno_of(program.rename("f", "d", RenameFlags.EXCHANGE)),
        await errno_of(program.open("f", write=True)),
        await errno_of(program.open("f", truncate=True)),
        await errno_of(fs.set_attr(att, f, SetAttr(mode=0o600))),
        await errno_of(fs.set_attr(att, f, SetAttr(size=0))),
        await errno_of(fs.set_attr(att, d, SetAttr(mtime_now=True))),
        await errno_of(fs.set_xattr(att, f, b"user.x", b"", create=False, replace=False)),
        await errno_of(fs.remove_xattr(att, f, b"user.x")),
    ]


async def test_a_read_only_mount_refuses_every_change_at_once(device: Device, program: Program) -> None:
    await program.write("f", b"x")
    await program.mkdir("d")
    reader = device.attach("reader", read_only=True)
    assert reader.att.read_only
    assert set(await _every_change(reader)) == {errno.EROFS}
    assert await reader.tree() == {"d": None, "f": b"x"}


async def test_a_device_that_became_a_reader_refuses_every_change_at_once(device: Device, program: Program) -> None:
    await program.write("f", b"x")
    await program.mkdir("d")
    handle = await program.open("f", write=True)
    device.elsewhere.can_write = False
    assert set(await _every_change(program)) == {errno.EROFS}
    with pytest.raises(ReadOnly):
        await program.commit(handle, b"y")
    await program.release(handle)
    assert await program.tree() == {"d": None, "f": b"x"}
    assert device.attach("again").att.read_only


async def test_an_almost_full_disk_refuses_to_grow_and_allows_to_remove(
    device: Device, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    await program.write("f", b"x")
    await program.write("big", b"x" * 100_000)
    await device.settle()
    handle, big = await program.open("f", write=True), await program.open("big", write=True)
    object.__setattr__(device.settings, "reserve_bytes", 1 << 60)
    for refused in (
        program.create("new"),
        program.mkdir("new"),
        program.commit(handle, b"y" * 60_000),
        program.fs.stage(program.att, big, empty=False, base=b""),
        program.fs.write(program.att, handle, 0, b"y"),
        program.fs.fsync(program.att, handle, ROOT_INO, b"y"),
    ):
        with pytest.raises(NoSpace):
            await refused
    assert (await program.fs.stat_fs(program.att)).blocks_available == 0
    await program.release(handle)
    await program.release(big)
    assert await program.read("f") == b"x"
    await program.rename("big", "f")
    await program.unlink("f")
    assert await program.names() == []


async def test_a_disk_that_fills_up_while_a_file_is_copied_damages_nothing(
    device: Device, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    await program.write("f", b"x" * 100_000)
    await device.settle()
    handle = await program.open("f", write=True)

    def full(pieces: object, target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("holofsd.fs.content.writing.copy_pieces", full)
    with pytest.raises(NoSpace):
        await program.fs.stage(program.att, handle, empty=False, base=b"")
    await program.release(handle)
    assert await program.read("f") == b"x" * 100_000
    assert not list((device.directory / "staging").iterdir())


async def test_a_file_has_so_many_names_and_no_more(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holofsd.core.edit.MAX_LINKS", 10)
    await program.write("f", b"x")
    for number in range(9):
        await program.link("f", f"l{number}")
    assert (await program.stat("f")).nlink == 10
    assert await errno_of(program.link("f", "one more")) == errno.EMLINK
    await program.unlink("l7")
    assert (await program.stat("f")).nlink == 9


async def test_extended_attributes_are_kept_in_the_user_namespace(program: Program) -> None:
    fs, att = program.fs, program.att
    await program.write("f", b"x")
    ino = await program.walk("f")
    await fs.set_xattr(att, ino, b"user.b", b"1", create=True, replace=False)
    await fs.set_xattr(att, ino, b"user.a", b"", create=False, replace=False)
    assert await fs.list_xattr(att, ino) == (b"user.a", b"user.b")
    assert await fs.get_xattr(att, ino, b"user.b") == b"1"
    assert (await program.stat("f")).has_xattrs
    assert await errno_of(fs.set_xattr(att, ino, b"user.b", b"2", create=True, replace=False)) == errno.EEXIST
    assert await errno_of(fs.set_xattr(att, ino, b"user.c", b"2", create=False, replace=True)) == errno.ENODATA
    assert await errno_of(fs.get_xattr(att, ino, b"user.c")) == errno.ENODATA
    assert await errno_of(fs.set_xattr(att, ino, b"security.x", b"", create=False, replace=False)) == errno.EOPNOTSUPP
    assert await errno_of(fs.set_xattr(att, ino, b"user.x", b"x" * 65537, create=False, replace=False)) == errno.E2BIG
    await fs.remove_xattr(att, ino, b"user.b")
    assert await errno_of(fs.remove_xattr(att, ino, b"user.b")) == errno.ENODATA
    assert await fs.list_xattr(att, ino) == (b"user.a",)
    for letter in (b"x", b"y"):
        await errno_of(fs.set_xattr(att, ino, b"user." + letter, b"x" * 65536, create=False, replace=False))
    assert await fs.list_xattr(att, ino) == (b"user.a", b"user.x"), "together they are too large for a record"


async def test_the_root_has_attributes_that_stay(device: Device, program: Program) -> None:
    """rsync and cp -a set those of the directory they copy to."""
    await program.fs.set_attr(program.att, ROOT_INO, SetAttr(mode=0o700, mtime_ns=1_000_000_000))
    device.restart()
    attr = await device.attach().fs.get_attr(device.attach().att, ROOT_INO)
    assert (attr.mode, attr.mtime_ns) == (0o700, 1_000_000_000)


async def test_directories_that_change_have_a_new_time_and_those_set_stay(
    make_device: Callable[..., Device],
) -> None:
    here, there = make_device("here"), make_device("there")
    program, other = here.attach(), there.attach()
    await program.mkdir("d")
    await program.utime("d", 1_000_000_000)
    await program.write("d/f", b"x")
    assert (await program.stat("d")).mtime_ns > 1_000_000_000
    await program.utime("d", 2_000_000_000)
    here.give_to(there)
    assert (await program.stat("d")).mtime_ns == 2_000_000_000
    assert (await other.stat("d")).mtime_ns == 2_000_000_000


async def test_long_directories_are_listed_in_pages(program: Program) -> None:
    for number in range(25):
        await program.write(f"f{number:02}", b"")
    seen: list[bytes] = []
    while True:
        page = await program.fs.read_dir(program.att, ROOT_INO, seen[-1] if seen else b"", 10)
        seen += [name for name, _ in page.entries]
        if page.complete:
            break
        assert len(page.entries) == 10
    assert seen == [b"f%02d" % number for number in range(25)]


async def test_a_file_larger_than_any_disk_is_refused(program: Program) -> None:
    await program.write("f", b"x")
    assert await errno_of(program.truncate("f", 1 << 62)) == errno.EFBIG
    assert await errno_of(program.truncate("f", -1)) == errno.EINVAL


def _from_elsewhere(number: int, mtime_ns: int, size: int, wall_ms: int) -> NodeState:
    """A file, or a directory where the size is 0, as another device may have said it: over the wire."""
    author, stamp = AuthorId(b"e" * 32), Hlc(wall_ms, 2**32 - 1, AuthorId(b"e" * 32))
    body: Body = Blob(BlobHash(bytes([number]) * 32)) if size else Marker()
    node = NodeId(bytes([number]) * 16)
    version = Version(Dot(author, number), stamp, body, size, Register(mtime_ns, stamp), "elsewhere")
    kind = Kind.FILE if size else Kind.DIRECTORY
    place = Place(ROOT_ID, b"%d" % number)
    state = edit.new_node(node, kind, mtime_ns, place, edit.link_id(node), version, 0o755, stamp)
    if kind is Kind.DIRECTORY:
        state = replace(state, times=Register(mtime_ns, stamp))
    return decode_state(encode_state(state))


async def test_the_largest_numbers_that_a_record_can_say_break_nothing(device: Device, program: Program) -> None:
    await program.write("mine", b"mine")
    cases = itertools.product((-(2**63), -1, 2**63 - 1), (0, 1, MAX_NUMBER - 1), (0, MAX_WALL_MS))
    states = [_from_elsewhere(number, *case) for number, case in enumerate(cases, start=1)]
    with device.store.db.transaction():
        device.volume.merge(states)
    for name in await program.names():
        attr, out = await program.stat(name), pb.Attr()
        fill_attr(out, attr)
        assert MIN_TIME_NS <= out.mtime_ns <= MAX_TIME_NS
    inside = [state for state in states if state.kind is Kind.DIRECTORY]
    for state in inside:
        child = _from_elsewhere(100 + state.id[0], 2**63 - 1, 1, MAX_WALL_MS)
        place = Place(state.id, b"child")
        stamp = Hlc(MAX_WALL_MS, 2**32 - 1, AuthorId(b"f" * 32))
        with device.store.db.transaction():
            device.volume.merge([edit.moved(child, edit.link_id(child.id), place, stamp)])
    for state in inside:
        fill_attr(pb.Attr(), await program.stat(f"{state.id[0]}"))
    census = device.fs.census()
    assert census.bytes == census.missing_bytes == MAX_INTEGER
    with device.store.db.transaction():
        device.volume.merge([edit.removed(state) for state in states])
    assert sum(item.files for item in await device.fs.history.trash.list()) > 0
    assert all(item.bytes <= MAX_INTEGER for item in await device.fs.history.trash.list())
    assert await program.read("mine") == b"mine"
    device.restart()
    assert device.fs.census().files >= 1
