# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls that mounts acknowledged early are carried out once and in order, by their calls or from their journals."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

import pytest

from holofs_api.journal import record
from holofs_api.v1 import filesystem_pb2 as pb
from holofsd.core.errors import NoSpace
from holofsd.fs.types import AttachRequest
from holofsd.rpc.dispatch import Dispatcher
from holofsd.rpc.fs_calls import Caller
from holofsd.store import faults
from tests.fs.harness import Device, Program
from tests.fs.journalling import (
    NAME,
    TIME,
    attach,
    attached_again,
    chmod,
    create,
    journal,
    lease,
    mkdir,
    restarted,
    rmdir,
    say,
    unlink,
    write,
)


@pytest.fixture
def mount(device: Device) -> Program:
    return attach(device)


@pytest.mark.parametrize("again", [restarted, attached_again])
async def test_what_is_in_a_journal_is_made_when_the_mount_is_gone(
    device: Device, mount: Program, again: Callable[[Device], None]
) -> None:
    ino, path = lease(mount), journal(mount)
    assert device.fs.census().unfinalized == 0
    write(path, create(ino, b"one"), create(ino + 1, b"two", b"x" * 50_000), create(ino + 2, b"empty", b""))
    assert device.fs.census().unfinalized > 0, "nobody is told that all is safe elsewhere"
    device.fs.detach(mount.att)
    again(device)
    assert device.fs.census().unfinalized == 0
    seen = device.attach("other")
    assert await seen.tree() == {"one": b"promised", "two": b"x" * 50_000, "empty": b""}
    found = await seen.stat("one")
    assert (found.ino, found.mode, found.mtime_ns, found.ctime_ns) == (ino, 0o640, TIME, TIME + 1)
    assert len(device.publish()) == 3


async def test_a_mount_whose_process_ended_is_let_go_with_its_journal(device: Device) -> None:
    mount = attach(device, pid=0)
    write(journal(mount), create(lease(mount), b"one"))
    device.fs.detach(mount.att)
    await device.fs.tend_once()
    assert not journal(mount).exists()
    assert await device.attach("other").tree() == {"one": b"promised"}
    assert device.store.db.all("SELECT * FROM journals") == []


async def test_all_kinds_of_calls_come_in_their_order(device: Device, mount: Program) -> None:
    await mount.write("old", b"old")
    old, ino = (await mount.stat("old")).ino, lease(mount)
    write(
        journal(mount),
        unlink(old, b"old"),
        create(ino, b"old", b"new"),
        mkdir(ino + 1, b"folder"),
        create(ino + 2, b"file", parent=ino + 1),
        chmod(ino + 2, 0o604),
        create(ino + 3, b"gone again"),
        unlink(ino + 3, b"gone again"),
        mkdir(ino + 4, b"gone too"),
        rmdir(ino + 4, b"gone too"),
        rmdir(ino + 1, b"folder"),
    )
    device.restart()
    seen = device.attach("other")
    assert await seen.tree() == {"old": b"new", "folder": None, "folder/file": b"promised"}
    assert (await seen.stat("folder/file")).mode == 0o604
    assert (await seen.stat("folder")).mode == 0o750


async def test_a_directory_is_removed_only_if_it_is_the_one_that_was_seen(device: Device, mount: Program) -> None:
    await mount.mkdir("folder")
    seen = (await mount.stat("folder")).ino
    await mount.rename("folder", "moved")
    await mount.mkdir("folder")
    reply = say(device, mount, 1, rmdir(seen, b"folder"))
    assert reply.error.errno == errno.ENOENT
    assert {*await mount.tree()} == {"folder", "moved"}


@pytest.mark.parametrize("done", range(5))
async def test_what_was_carried_out_is_not_carried_out_again(device: Device, mount: Program, done: int) -> None:
    """The daemon dies between a call and its answer, when the tree went on since."""
    ino = lease(mount)
    calls = [
        create(ino, b"one"),
        unlink(ino, b"one"),
        create(ino + 1, b"one", b"again"),
        mkdir(ino + 2, b"folder"),
    ]
    write(journal(mount), *calls)
    with journal(mount).open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        for number, call in enumerate(calls[:done], start=1):
            assert not say(device, mount, number, call).HasField("error")
        if done == 4:
            await mount.rename("one", "folder/moved")
        device.restart()
        assert journal(mount).exists(), "its mount lives"
        mount = attach(device)
        for number, call in enumerate(calls, start=1):
            reply = say(device, mount, number, call)
            assert not reply.HasField("error")
            assert not reply.create.created
    tree = await device.attach("other").tree()
    assert tree == ({"folder": None, "folder/moved": b"again"} if done == 4 else {"one": b"again", "folder": None})


async def test_what_came_to_the_name_since_keeps_it(device: Device, mount: Program) -> None:
    ino = lease(mount)
    write(journal(mount), create(ino, b"one"), mkdir(ino + 1, b"two"), create(ino + 2, b"in", parent=ino + 1))
    await mount.write("one", b"another")
    await mount.mkdir("two")
    device.restart()
    assert await device.attach("other").tree() == {
        "one": b"another",
        "two": None,  # a folder is one with another one of its name
        "lost+found": None,
        "lost+found/one": b"promised",
        "two/in": b"promised",
    }


async def test_what_comes_to_the_name_at_the_same_time_stands_beside_it(device: Device, mount: Program) -> None:
    await mount.write("one", b"another")
    assert not say(device, mount, 1, create(lease(mount), b"one")).HasField("error")
    tree = await device.attach("other").tree()
    assert sorted(data for data in tree.values() if data is not None) == [b"another", b"promised"]


@pytest.mark.parametrize("taken", [False, True])
async def test_what_has_no_directory_any_more_comes_to_lost_and_found(
    device: Device, mount: Program, taken: bool
) -> None:
    await mount.mkdir("d")
    parent, ino = await mount.walk("d"), lease(mount)
    write(journal(mount), create(ino, b"one", parent=parent), mkdir(ino + 1, b"two", parent=parent))
    await mount.rmdir("d")
    if taken:
        await mount.write("lost+found", b"a file of somebody")
    device.restart()
    tree = await device.attach("other").tree()
    if taken:
        assert tree == {"one": b"promised", "two": None, "lost+found": b"a file of somebody"}
    else:
        assert tree == {"lost+found": None, "lost+found/one": b"promised", "lost+found/two": None}


async def test_what_does_not_fit_now_holds_up_what_follows(
    device: Device, mount: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    ino = lease(mount)
    await mount.write("old", b"old")
    calls = [create(ino, b"one"), unlink((await mount.stat("old")).ino, b"old"), chmod(ino, 0o604)]
    with monkeypatch.context() as patch:
        patch.setattr(os, "statvfs", _full)
        assert [say(device, mount, *call).error.code for call in enumerate(calls, start=1)] == [
            *("no-space", "not-yet", "not-yet"),
        ]
    assert await mount.tree() == {"old": b"old"}
    await mount.write("one", b"saved again by its program, which waited")
    await mount.write("old", b"saved since")
    assert [say(device, mount, *call, late=True).error.code for call in enumerate(calls, start=1)] == ["", "", ""]
    tree = await mount.tree()
    assert tree == {
        "one": b"saved again by its program, which waited",
        "old": b"saved since",
        "lost+found": None,
        "lost+found/one": b"promised",
    }
    assert (await mount.stat("lost+found/one")).mode == 0o604


async def test_what_a_mount_left_while_the_disk_was_full_is_stored_later(
    device: Device, mount: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = journal(mount)
    ino = lease(mount)
    write(path, create(ino, b"one"), chmod(ino, 0o604))
    device.fs.detach(mount.att)
    with monkeypatch.context() as patch:
        patch.setattr(os, "statvfs", _full)
        await device.fs.tend_once()
        device.restart()
        assert device.fs.census().unfinalized == 1
    monkeypatch.setattr("holofsd.fs.mounts.journals._REST_S", 0.0)
    device.restart()
    assert (await device.attach("other").stat("one")).mode == 0o604
    assert not path.exists()


async def test_a_disk_that_fills_up_is_noticed_by_the_very_next_change(
    mount: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    await mount.write("before", b"looked at the disk a moment ago")
    monkeypatch.setattr(os, "statvfs", _full)
    with pytest.raises(NoSpace):
        await mount.write("after", b"x")
    assert set(await mount.tree()) == {"before"}


def _full(path: Any) -> os.statvfs_result:
    return os.statvfs_result((4096, 4096, 1000, 10, 10, 9, 9, 9, 0, 255))


async def test_what_can_never_be_done_holds_up_nobody(device: Device, mount: Program) -> None:
    ino = lease(mount)
    calls = [unlink(999, b"not there"), chmod(999, 0o600), create(ino, b"one")]
    assert [say(device, mount, *call).error.code for call in enumerate(calls, start=1)] == [
        *("no-such-name", "stale-handle", ""),
    ]
    write(journal(mount), *calls)
    assert device.fs.census().unfinalized == 0


async def test_that_something_can_never_be_done_waits_for_an_index_that_can_be_written(
    device: Device, mount: Program
) -> None:
    calls = [unlink(999, b"not there"), create(lease(mount), b"one")]
    device.store.db.run("CREATE TRIGGER full BEFORE INSERT ON journals BEGIN SELECT RAISE(ABORT, 'full'); END")
    assert say(device, mount, 1, calls[0]).error.code == "not-yet"
    device.store.db.run("DROP TRIGGER full")
    assert say(device, mount, 1, calls[0]).error.code == "no-such-name"
    assert not say(device, mount, 2, calls[1]).HasField("error")


async def test_the_mount_itself_is_told_of_what_comes_to_lost_and_found(device: Device, mount: Program) -> None:
    await mount.mkdir("d")
    parent, ino = await mount.walk("d"), lease(mount)
    await mount.rmdir("d")
    async with aclosing(device.fs.watch(mount.att)) as news:  # type: ignore[type-var]
        following = asyncio.ensure_future(anext(news))
        await asyncio.sleep(0)
        assert not say(device, mount, 1, create(ino, b"one", parent=parent)).HasField("error")
        told = {entry.name for entry in (await asyncio.wait_for(following, 30)).entries}
    assert told == {b"lost+found", b"one"}


async def test_an_index_that_cannot_be_written_forgets_nothing(device: Device, mount: Program) -> None:
    ino = lease(mount)
    calls = [create(ino, b"one"), create(ino + 1, b"two")]
    device.store.db.run("CREATE TRIGGER full BEFORE INSERT ON journals BEGIN SELECT RAISE(ABORT, 'full'); END")
    assert all(say(device, mount, *call).HasField("error") for call in enumerate(calls, start=1))
    device.store.db.run("DROP TRIGGER full")
    assert say(device, mount, 2, calls[1]).error.code == "not-yet"
    assert not any(say(device, mount, *call).HasField("error") for call in enumerate(calls, start=1))
    assert await mount.tree() == {"one": b"promised", "two": b"promised"}


async def test_what_a_failure_after_the_commit_leaves_is_done(device: Device, mount: Program) -> None:
    ino = lease(mount)

    def fails(where: object) -> None:
        raise RuntimeError("a defect")

    with faults.armed("writing.committed", fails):
        assert say(device, mount, 1, create(ino, b"one")).HasField("error")
    assert not say(device, mount, 1, create(ino, b"one")).HasField("error")
    assert await mount.tree() == {"one": b"promised"}


async def test_an_index_from_a_backup_goes_on_where_the_mount_is(device: Device, mount: Program) -> None:
    """An index that knows less than what was answered."""
    request = AttachRequest("test", "journalled", "/mnt", os.getpid(), False, (), NAME, answered=7)
    again = Program(device, device.fs.attach(request))
    assert not say(device, again, 8, create(lease(again), b"one")).HasField("error")


async def test_whoever_asks_comes_after_what_was_closed(device: Device, mount: Program) -> None:
    ino = lease(mount)
    calls = [create(ino, b"one"), create(ino + 1, b"two")]
    write(journal(mount), *calls)
    asking = asyncio.ensure_future(device.fs.caught_up())
    await asyncio.sleep(0)
    for number, call in enumerate(calls, start=1):
        assert not asking.done()
        say(device, mount, number, call)
        await asyncio.sleep(0)
    await asyncio.wait_for(asking, 30)


async def test_a_lane_that_was_replaced_carries_nothing_out(device: Device, mount: Program) -> None:
    attach(device)
    assert say(device, mount, 1, create(lease(mount), b"one")).error.code == "not-yet"


async def test_what_this_device_may_not_write_any_more_is_kept_elsewhere(device: Device, mount: Program) -> None:
    path = journal(mount)
    write(path, create(lease(mount), b"a/one", b"precious"))
    device.elsewhere.can_write = False
    device.restart()
    assert await device.attach("other").tree() == {}
    assert not path.exists()
    (kept,) = (device.directory / "unsaved").iterdir()
    assert kept.read_bytes() == b"precious"
    assert kept.name.endswith("a_one")


async def test_a_number_that_a_restored_index_gives_again_is_replaced(device: Device, mount: Program) -> None:
    await mount.write("other", b"other")
    write(journal(mount), create(10**12, b"one"), create((await mount.stat("other")).ino, b"two"))
    device.restart()
    assert await device.attach("other").tree() == {"one": b"promised", "two": b"promised", "other": b"other"}


async def test_a_record_that_is_cut_off_was_promised_to_nobody(device: Device, mount: Program) -> None:
    ino, path = lease(mount), journal(mount)
    write(path, create(ino, b"one"), create(ino + 1, b"two"))
    path.write_bytes(path.read_bytes()[:-1])
    device.restart()
    assert await device.attach("other").tree() == {"one": b"promised"}
    assert not path.exists()


async def test_calls_that_have_to_be_waited_for_are_in_no_journal(device: Device, mount: Program) -> None:
    for call in (
        pb.CallRequest(rename=pb.RenameRequest(parent=1, name=b"a", new_parent=1, new_name=b"b")),
        pb.CallRequest(create=pb.CreateRequest(parent=1, name=b"a", ino=lease(mount))),
        pb.CallRequest(set_attr=pb.SetAttrRequest(ino=2, size=0)),
    ):
        assert say(device, mount, 1, call).error.code == "bad-argument"
    assert say(device, device.attach("none"), 1, mkdir(5, b"x")).error.code == "not-yet"


async def test_a_record_that_makes_no_sense_keeps_nobody_from_the_volume(device: Device, mount: Program) -> None:
    path = journal(mount)
    path.write_bytes(record(1, b"\xff\xff\xff") + record(2, create(lease(mount), b"one").SerializeToString()))
    device.restart()
    assert await device.attach("other").tree() == {"one": b"promised"}


def test_a_journal_has_no_name_that_leads_elsewhere(device: Device) -> None:
    for name in ("", "../x", NAME + "0", NAME.upper()):
        request = AttachRequest("test", "m", "/mnt", os.getpid(), False, (), name)
        assert device.fs.attach(request).journal == ""


async def test_calls_begin_in_the_order_in_which_they_came(device: Device, mount: Program) -> None:
    """One that is journalled waits for none that came later, and for those before it to have begun."""
    replies: list[pb.CallReply] = []
    dispatcher = Dispatcher(Caller(device.fs, mount.att), replies.append, lambda: None)
    before = mkdir(0, b"d")
    before.id = 1
    assert dispatcher.begin(before) is None
    inode = lease(mount)
    inside = create(inode, b"f")
    inside.id, inside.number = 2, 1
    assert dispatcher.begin(inside) is None, "the folder comes first"
    await dispatcher.drain()
    assert [(reply.id, reply.HasField("error")) for reply in replies] == [(1, False), (2, False)]
    assert sorted(await mount.tree()) == ["d", "f"]
    chmod_now = chmod(inode, 0o600)
    chmod_now.id, chmod_now.number = 3, 2
    reply = dispatcher.begin(chmod_now)
    assert reply is not None, "nothing is before it"
    assert not reply.HasField("error")
