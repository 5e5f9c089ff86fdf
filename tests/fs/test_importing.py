# SPDX-License-Identifier: GPL-3.0-or-later
"""Imports and exports on the side of the daemon: what is taken in, what is not, and how two that import apart meet."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path

import pytest
from blake3 import blake3

from holofsd.core.errors import BadArgument, NoSuchName, ReadOnly, StaleHandle
from holofsd.fs.transfers import (
    ExportItem,
    ExtendedAttribute,
    FoundName,
    ImportItem,
    ImportItems,
    ImportLook,
    ImportName,
    ImportSession,
)
from tests.fs.harness import Device, Program

TIME_NS = 1_500_000_000_123_456_789
LARGE = bytes(range(256)) * 400
SMALL = b"small" * 2_000


def folder(path: str, *, dated: bool = False, mode: int = 0o750) -> ImportItem:
    return ImportItem(os.fsencode(path), "directory", mode, TIME_NS, dated=dated)


def file(path: str, data: bytes = b"content", mode: int = 0o640) -> ImportItem:
    return ImportItem(os.fsencode(path), "file", mode, TIME_NS, data=data)


def stage(device: Device, data: bytes) -> str:
    """A file in the staging folder, as a client puts it there."""
    name = secrets.token_hex(12)
    (device.store.staging.folder / name).write_bytes(data)
    return name


def staged(device: Device, path: str, data: bytes = LARGE, replaces: bytes = b"") -> ImportItem:
    return ImportItem(os.fsencode(path), "file", 0o600, TIME_NS, staging=stage(device, data), replaces=replaces)


async def put(device: Device, *items: ImportItem, hold: bool = False) -> list[tuple[str, str]]:
    """Results and reasons of one batch. The import ends with it."""
    session = device.fs.importing.session()
    session.begin()
    try:
        return [(result.what, result.why) for result in await session.put(ImportItems(items, hold=hold))]
    finally:
        session.close()


async def look(session: ImportSession, *paths: str, size: int | None = None) -> list[FoundName]:
    names = tuple(ImportName(os.fsencode(path), size) for path in paths)
    return list(await session.look(ImportLook(names, hashed=True)))


async def listed(device: Device, path: bytes = b"") -> dict[bytes, ExportItem]:
    return {item.path: item async for item in device.fs.exporting.export(path)}


LIBRARY = ("d", "d/small", "d/large", "d/link", "d/again", "empty")


async def import_library(device: Device) -> None:
    items = (
        folder("d"),
        file("d/small", SMALL),
        staged(device, "d/large"),
        ImportItem(b"d/link", "symlink", 0o777, TIME_NS, target=b"../x"),
        ImportItem(b"d/again", "file", link_to=b"d/small"),
        file("empty", b""),
        folder("d", dated=True),
    )
    assert await put(device, *items) == [("imported", "")] * 7
    await device.settle()


async def test_an_import_has_content_times_modes_symlinks_and_hard_links(device: Device, program: Program) -> None:
    await import_library(device)
    assert await program.tree() == {
        "d": None,
        "d/again": SMALL,
        "d/large": LARGE,
        "d/link": b"-> ../x",
        "d/small": SMALL,
        "empty": b"",
    }
    attrs = {path: await program.stat(path) for path in LIBRARY}
    assert {attr.mtime_ns for attr in attrs.values()} == {TIME_NS, attrs["d/again"].mtime_ns}
    assert [attrs[path].mode for path in LIBRARY[:3]] == [0o750, 0o640, 0o600]
    assert attrs["d/small"].ino == attrs["d/again"].ino
    assert attrs["d/small"].nlink == 2
    assert not list(device.store.staging.folder.iterdir())


async def test_a_name_that_is_taken_stays_and_the_others_are_imported(device: Device, program: Program) -> None:
    await program.write("there", b"as it was")
    long = "n" * 256
    assert [what for what, _ in await put(device, file("there"), file(long), file("no/folder"), file("new"))] == [
        "exists",
        "refused",
        "refused",
        "imported",
    ]
    assert await program.tree() == {"there": b"as it was", "new": b"content"}


async def test_extended_attributes_come_along_and_what_cannot_be_kept_is_told(device: Device, program: Program) -> None:
    kept = ExtendedAttribute(b"user.note", b"kept")
    good = ImportItem(b"good", "file", data=b"x", xattrs=(kept,))
    bad = ImportItem(b"bad", "file", data=b"x", xattrs=(kept, ExtendedAttribute(b"user.large", bytes(70_000))))
    told = await put(device, good, bad)
    assert (told[0], told[1][0]) == (("imported", ""), "imported")
    assert "left out" in told[1][1]
    ino = (await program.stat("good")).ino
    assert await device.fs.get_xattr(program.att, ino, b"user.note") == b"kept"
    assert (await listed(device))[b"good"].xattrs == (kept,)
    assert (await listed(device))[b"bad"].xattrs == ()


async def test_two_devices_that_import_the_same_apart_meet_without_conflict_and_without_content(
    make_device: Callable[..., Device],
) -> None:
    a, b = make_device("a"), make_device("b")
    await import_library(a)
    await import_library(b)
    # Other modes and times than there, and a further file on each.
    await b.attach().chmod("d/large", 0o644)
    await b.attach().utime("d/small", 7)
    await put(a, file("of a"))
    await put(b, file("of b"))
    a.give_to(b, content=False)
    b.give_to(a, content=False)
    one, other = a.attach(), b.attach()
    assert await one.tree() == await other.tree()
    assert {*await one.names()} == {"d", "empty", "of a", "of b"}
    assert {*await one.names("d")} == {"small", "large", "link", "again"}
    for device in (a, b):
        assert device.store.nodes.count_copies() == 0
        assert not device.store.content.is_any_missing()
        assert device.elsewhere.asked == []
    for program in (one, other):
        assert (await program.stat("d/small")).ino == (await program.stat("d/again")).ino


async def test_content_that_is_known_and_elsewhere_is_supplied_by_an_import(
    make_device: Callable[..., Device],
) -> None:
    a, b = make_device("a"), make_device("b")
    await import_library(a)
    a.give_to(b, content=False)
    session = b.fs.importing.session()
    session.begin()
    (found,) = await look(session, "d/large", size=len(LARGE))
    assert (found.hash, found.here) == (blake3(LARGE).digest(), False)
    author = b.store.content.wanting_authors()[0]
    now = b.volume.now_ms()
    assert found.hash not in {wanted.blob for wanted in b.store.content.wanted(author, 10, 1 << 30, now)}
    item = staged(b, "d/large", replaces=found.version)
    assert [result.what for result in await session.put(ImportItems((item,)))] == ["imported"]
    (found,) = await look(session, "d/large")
    assert (found.hash, found.here, found.mtime_ns) == (blake3(LARGE).digest(), True, TIME_NS)
    again = staged(b, "d/large", replaces=item.replaces)
    assert [result.what for result in await session.put(ImportItems((again,)))] == ["exists"]
    session.close()
    b.give_to(a, content=False)
    for device in (a, b):
        assert device.store.nodes.count_copies() == 0
        assert await device.attach().read("d/large") == LARGE
    assert b.elsewhere.asked == []


async def test_a_file_that_is_moved_in_keeps_its_place_on_the_disk(device: Device, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(LARGE)
    inode = source.stat().st_ino
    session = device.fs.importing.session()
    session.begin()
    name = secrets.token_hex(12)
    os.link(source, device.store.staging.folder / name)
    item = ImportItem(b"f", "file", 0o644, TIME_NS, staging=name)
    await session.put(ImportItems((item,), durable=True, hold=True))
    await device.fs.hasher.drain()
    content = device.store.content.path(blake3(LARGE).digest())  # type: ignore[arg-type]
    assert not content.exists(), "it was taken while it had another name"
    source.unlink()
    session.taken((name,))
    (found,) = await look(session, "f")
    session.close()
    assert (found.hash, found.here) == (blake3(LARGE).digest(), True)
    assert content.stat().st_ino == inode


async def test_what_has_another_name_is_copied_so_that_nobody_can_write_to_it(device: Device, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(LARGE)
    source.chmod(0o640)
    name = secrets.token_hex(12)
    os.link(source, device.store.staging.folder / name)
    assert await put(device, ImportItem(b"f", "file", staging=name)) == [("imported", "")]
    await device.settle()
    assert (source.stat().st_mode & 0o777, source.stat().st_nlink) == (0o640, 1)
    source.write_bytes(b"another")
    assert await device.attach().read("f") == LARGE


async def test_a_kill_after_a_batch_loses_nothing_of_it(device: Device) -> None:
    await put(device, folder("d"), staged(device, "d/large"), file("d/small", SMALL))
    device.restart()
    await device.fs.hasher.drain()
    assert await device.attach().tree() == {"d": None, "d/large": LARGE, "d/small": SMALL}


async def test_an_export_lists_folders_first_and_where_content_is(device: Device) -> None:
    await import_library(device)
    found = await listed(device)
    assert [*found] == [b"d", b"d/again", b"d/large", b"d/link", b"d/small", b"empty"]
    large = found[b"d/large"]
    assert Path(os.fsdecode(large.file)).read_bytes() == LARGE
    assert (large.hash, large.size, large.mode, large.mtime_ns) == (blake3(LARGE).digest(), len(LARGE), 0o600, TIME_NS)
    assert found[b"d"].mtime_ns == TIME_NS
    assert found[b"d/link"].target == b"../x"
    assert found[b"d/small"].node == found[b"d/again"].node != b""
    assert [*await listed(device, b"d/large")] == [b""]
    with pytest.raises(NoSuchName):
        await listed(device, b"nothing")


async def test_an_export_says_whose_content_cannot_be_had(make_device: Callable[..., Device]) -> None:
    a, b = make_device("a"), make_device("b")
    await import_library(a)
    a.give_to(b, content=False)
    found = await listed(b)
    assert {path for path, item in found.items() if item.problem} == {b"d/again", b"d/large", b"d/small"}
    b.elsewhere.blobs[blake3(LARGE).digest()] = LARGE  # type: ignore[index]
    assert (await listed(b, b"d/large"))[b""].problem == ""


async def test_a_reader_and_an_ended_import_are_refused(device: Device) -> None:
    session = device.fs.importing.session()
    session.begin()
    for wrong in (ImportItem(b"f", "file"), ImportItem(b"f", "file", staging="../index.db"), ImportItem(b"f", "pipe")):
        with pytest.raises(BadArgument):
            await session.put(ImportItems((wrong,)))
    device.elsewhere.can_write = False
    with pytest.raises(ReadOnly):
        session.begin()
    session.close()
    with pytest.raises(StaleHandle):
        await session.put(ImportItems((file("f"),)))


async def test_what_rules_match_is_imported_and_stays_on_this_device(device: Device) -> None:
    rules = file(".holofsignore", b"build/\n*.tmp\n")
    results = await put(device, rules, folder("build"), file("build/a"), file("b.tmp"), file("kept"))
    assert [result for result, _ in results] == ["imported"] * 5
    paths = {device.volume.tree.path_of(node) for node in device.store.ignored.all()}
    assert paths == {b"build", b"build/a", b"b.tmp"}
