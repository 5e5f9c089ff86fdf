# SPDX-License-Identifier: GPL-3.0-or-later
"""Folders and files by path, without a mount: pages, what is being written, conflict copies, content elsewhere."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from holofsd.codec.content import hash_bytes
from holofsd.core.errors import ContentUnavailable, IsADirectory, NoSuchName, NotADirectory
from holofsd.fs.content import browsing
from tests.fs.harness import Device, Program

LARGE = b"z" * 600_000


async def content(device: Device, path: bytes) -> bytes:
    return b"".join([piece async for piece in device.fs.browsing.read(path)])


async def test_a_folder_comes_in_pages(device: Device, program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    await program.mkdir("d")
    for number in range(5):
        await program.write(f"d/{number}", b"x" * number)
    assert device.fs.browsing.folder(b"d", b"", 0).complete
    monkeypatch.setattr(browsing, "MOST_ENTRIES", 2)
    names, after = [], b""
    for limit in (0, 9, 1, 2):
        page = device.fs.browsing.folder(b"d", after, limit)
        names.append([entry.name for entry in page.entries])
        after = page.entries[-1].name if page.entries else after
    assert names == [[b"0", b"1"], [b"2", b"3"], [b"4"], []]
    assert device.fs.browsing.folder(b"", b"", 0).entries[0].kind == "directory"


async def test_content_of_every_kind_is_read_whole(device: Device, program: Program) -> None:
    await program.write("small", b"abc")
    await program.write("empty", b"")
    await program.write("large", LARGE)
    await program.symlink("../etc/passwd", "link")
    assert await content(device, b"large") == LARGE
    await device.fs.hasher.drain()
    for path, expected in ((b"small", b"abc"), (b"empty", b""), (b"large", LARGE), (b"link", b"../etc/passwd")):
        assert await content(device, path) == expected


async def test_what_is_being_written_is_shown_as_it_is_now(device: Device, program: Program) -> None:
    handle = await program.create("f")
    staged = await device.fs.stage(program.att, handle, empty=True, base=b"")
    with open(staged.path, "wb") as file:
        file.write(b"half")
    (entry,) = device.fs.browsing.folder(b"", b"", 0).entries
    assert (entry.size, entry.writing) == (4, True)
    assert await content(device, b"f") == b"half"
    await program.release(handle)


async def test_a_path_that_leads_nowhere_is_refused(device: Device, program: Program) -> None:
    await program.mkdir("d")
    await program.write("d/f", b"x")
    for path in (b"no", b"d/no", b"d/f/x", b"..", b"d/..", b"/d", b"d/", b"d//f"):
        with pytest.raises(NoSuchName):
            await content(device, path)
        with pytest.raises(NoSuchName):
            device.fs.browsing.folder(path, b"", 0)
    with pytest.raises(NotADirectory):
        device.fs.browsing.folder(b"d/f", b"", 0)
    with pytest.raises(IsADirectory):
        await content(device, b"d")


async def test_conflict_copies_are_marked_and_content_elsewhere_is_fetched(make_device: Callable[..., Device]) -> None:
    here, there = make_device("here"), make_device("there")
    ours, theirs = here.attach(), there.attach()
    await ours.write("f", b"ours")
    there.clock.advance(1)
    await theirs.write("f", b"theirs")
    await theirs.write("large", LARGE)
    await there.fs.hasher.drain()
    there.give_to(here, content=False)
    shown = {entry.name: (entry.copy, entry.here) for entry in here.fs.browsing.folder(b"", b"", 0).entries}
    assert shown.pop(b"large") == (False, False)
    assert sorted(shown.values()) == [(False, True), (True, True)]
    (copy,) = [name for name, (is_copy, _) in shown.items() if is_copy]
    assert (await content(here, b"f"), await content(here, copy)) == (b"theirs", b"ours")
    with pytest.raises(ContentUnavailable):
        await content(here, b"large")
    here.elsewhere.blobs[hash_bytes(LARGE)] = LARGE
    assert await content(here, b"large") == LARGE
