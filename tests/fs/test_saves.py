# SPDX-License-Identifier: GPL-3.0-or-later
"""Ways in which programs save: whatever the dance, the file keeps its identity, and so its history and concurrent
edits."""

from __future__ import annotations

import errno

from holofsd.core.ids import NodeId
from tests.fs.harness import Device, Program, errno_of


async def _published(device: Device, program: Program, path: str, data: bytes) -> NodeId:
    await program.write(path, data)
    await device.settle()
    return device.node_at(path)


async def test_a_temporary_file_renamed_over_is_a_write_to_the_file(device: Device, program: Program) -> None:
    node = await _published(device, program, "doc.odt", b"old" * 5000)
    before = await program.stat("doc.odt")
    await program.write("lu1.tmp", b"new" * 5000)
    await program.chmod("lu1.tmp", 0o600)
    temporary = device.node_at("lu1.tmp")
    ino = (await program.stat("lu1.tmp")).ino
    await program.rename("lu1.tmp", "doc.odt")
    after = await program.stat("doc.odt")
    assert device.node_at("doc.odt") == node
    assert await program.tree() == {"doc.odt": b"new" * 5000}
    assert (after.ino, after.mode, after.nlink) == (ino, 0o600, 1)
    assert after.ino != before.ino
    assert device.store.nodes.get(temporary) is None, "nobody will ever hear of the temporary file"
    await device.settle()
    assert await program.tree() == {"doc.odt": b"new" * 5000}


async def test_open_files_of_a_replaced_file_keep_the_old_content(device: Device, program: Program) -> None:
    await _published(device, program, "f", b"old" * 5000)
    reader = await program.open("f")
    writer = await program.open("f", write=True)
    await program.write("tmp", b"new")
    await program.rename("tmp", "f")
    assert await program.read_handle(reader) == b"old" * 5000
    await program.commit(writer, b"lost, as on any disk")
    assert await program.read_handle(reader) == b"lost, as on any disk"
    await program.release(writer)
    await program.release(reader)
    await device.settle()
    assert await program.tree() == {"f": b"new"}
    assert not device.store.nodes.detached()
    assert not list((device.directory / "staging").iterdir())


async def test_a_backup_rename_keeps_the_node_with_the_name(device: Device, program: Program) -> None:
    """vim with backupcopy=no: f -> f~, a new f, f~ is deleted."""
    node = await _published(device, program, "f", b"old")
    old_ino = (await program.stat("f")).ino
    await program.rename("f", "f~")
    await program.write("f", b"new")
    assert device.node_at("f") == node
    assert device.node_at("f~") != node
    assert (await program.stat("f~")).ino == old_ino
    assert (await program.stat("f")).ino != old_ino
    assert await program.tree() == {"f": b"new", "f~": b"old"}
    await program.unlink("f~")
    await device.settle()
    assert await program.tree() == {"f": b"new"}


async def test_a_temporary_file_renamed_to_a_name_that_was_moved_away_a_moment_ago_is_that_file(
    device: Device, program: Program
) -> None:
    node = await _published(device, program, "f", b"old")
    await program.rename("f", "f.bak")
    await program.write("f.tmp", b"new")
    await program.rename("f.tmp", "f")
    assert device.node_at("f") == node
    assert await program.tree() == {"f": b"new", "f.bak": b"old"}


async def test_a_removal_that_names_an_inode_meets_no_other_file(device: Device, program: Program) -> None:
    await program.write("f", b"old")
    old = await program.walk("f")
    await program.write("g", b"new")
    await program.rename("g", "f")
    root = await program.walk("")
    assert await errno_of(program.fs.unlink(program.att, root, b"f", old)) == errno.ENOENT
    assert await program.read("f") == b"new"
    await program.fs.unlink(program.att, root, b"f", await program.walk("f"))
    assert await program.names() == []


async def test_a_file_that_is_unlinked_and_made_again_keeps_its_node_but_nothing_else(
    device: Device, program: Program
) -> None:
    """git checkout."""
    node = await _published(device, program, "f", b"old")
    attr = await program.chmod("f", 0o755)
    await program.fs.set_xattr(program.att, attr.ino, b"user.x", b"1", create=False, replace=False)
    await program.unlink("f")
    handle = await program.create("f", 0o644, exclusive=True)
    assert await program.read("f") == b""
    await program.put(handle, b"new")
    await program.release(handle)
    after = await program.stat("f")
    assert device.node_at("f") == node
    assert (after.mode, after.has_xattrs, after.nlink) == (0o644, False, 1)
    assert after.ino != attr.ino
    assert await program.tree() == {"f": b"new"}


async def test_after_fifteen_seconds_a_name_made_again_is_another_file(device: Device, program: Program) -> None:
    node = await _published(device, program, "f", b"old")
    await program.unlink("f")
    device.clock.advance(16)
    await program.write("f", b"new")
    assert device.node_at("f") != node


async def test_a_file_moved_away_and_back_is_itself(device: Device, program: Program) -> None:
    node = await _published(device, program, "f", b"old")
    ino = (await program.stat("f")).ino
    await program.rename("f", "g")
    await program.rename("g", "f")
    assert device.node_at("f") == node
    assert (await program.stat("f")).ino == ino
    assert await program.tree() == {"f": b"old"}


async def test_rotating_logs_moves_every_content_one_name_on(device: Device, program: Program) -> None:
    for round_number in range(4):
        for old, new in (("log.1", "log.2"), ("log", "log.1")):
            if await program.exists(old):
                await program.rename(old, new)
        await program.write("log", b"%d" % round_number)
        await device.settle()
    assert await program.tree() == {"log": b"3", "log.1": b"2", "log.2": b"1"}


async def test_what_is_made_and_removed_again_is_never_published(device: Device, program: Program) -> None:
    handle = await program.create("f")
    assert device.publish() == [], "it is open and empty"
    await program.put(handle, b"x")
    await program.release(handle)
    await program.unlink("f")
    assert device.publish() == []


async def test_an_empty_file_that_stays_open_is_published_after_five_seconds(device: Device, program: Program) -> None:
    await program.create("f")
    assert device.publish() == []
    device.clock.advance(5.1)
    assert device.publish() == [device.node_at("f")]


async def test_closing_a_new_file_without_writing_publishes_it(device: Device, program: Program) -> None:
    await program.release(await program.create("f"))
    assert device.publish() == [device.node_at("f")]


async def test_truncating_and_writing_is_published_as_one_change(device: Device, program: Program) -> None:
    node = await _published(device, program, "f", b"old")
    handle = await program.open("f", write=True, truncate=True)
    assert await program.read("f") == b""
    assert device.publish() == []
    await program.put(handle, b"new")
    assert device.publish() == [node]


async def test_a_file_that_is_still_written_to_can_be_renamed_over_another(device: Device, program: Program) -> None:
    node = await _published(device, program, "f", b"old")
    handle = await program.create("tmp")
    staged = await program.fs.stage(program.att, handle, empty=True, base=b"")
    with open(staged.path, "wb", buffering=0) as file:
        file.write(b"first")
        await program.rename("tmp", "f")
        file.write(b", second" + bytes(5000))
    assert await program.read("f") == b"first, second" + bytes(5000)
    await program.release(handle)
    assert device.node_at("f") == node
    await device.settle()
    assert await program.tree() == {"f": b"first, second" + bytes(5000)}


async def test_a_name_that_was_one_of_two_is_a_new_file_when_it_comes_back(device: Device, program: Program) -> None:
    node = await _published(device, program, "f", b"both")
    await program.link("f", "other")
    await program.unlink("f")
    await program.write("f", b"new")
    assert await program.tree() == {"f": b"new", "other": b"both"}
    assert device.node_at("other") == node
