# SPDX-License-Identifier: GPL-3.0-or-later
"""Names that the kernel is told to drop: who waits for it, and what is done by such a name until then."""

from __future__ import annotations

import asyncio
import errno
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from google.protobuf.message import Message

from holofs_api.v1 import filesystem_pb2 as pb
from holofs_mount.client import Recover
from holofs_mount.core.volume import MountRequest, Volume
from holofs_mount.kernel_caches import KernelCaches, KnownNames

ROOT, OLD, NEW = 1, 2, 3
THREAD, OTHER = 100, 101


class SlowKernel:
    """Drops a name when the test gives it the lock of the folder."""

    def __init__(self) -> None:
        self.lock = threading.Event()
        self.dropped: list[tuple[int, bytes]] = []

    def enter(self, keep: int) -> None:
        pass

    def entered(self) -> None:
        pass

    def invalidate_inode(self, inode: int, attr_only: bool = False) -> None:
        pass

    def invalidate_entry(self, inode_p: int, name: bytes) -> None:
        assert self.lock.wait(30)
        self.dropped.append((inode_p, name))
        raise FileNotFoundError


@pytest.fixture
def kernel() -> SlowKernel:
    return SlowKernel()


@pytest.fixture
async def caches(kernel: SlowKernel) -> AsyncIterator[KernelCaches]:
    known = KnownNames()
    known.add(OLD, ROOT, b"log")
    known.add(NEW, ROOT, b"tmp")
    caches = KernelCaches(known, kernel, ROOT)
    caches.start()
    yield caches
    kernel.lock.set()
    caches.stop()


def _is_refused(caches: KernelCaches, ino: int, thread: int = THREAD) -> bool:
    try:
        caches.undropped.check(ino, thread)
    except OSError as error:
        return error.errno == errno.ESTALE
    return False


async def _drop(caches: KernelCaches, kernel: SlowKernel) -> None:
    dropped = asyncio.Event()
    caches.when_dropped(dropped.set)
    kernel.lock.set()
    await asyncio.wait_for(dropped.wait(), 30)


async def test_an_acknowledgement_waits_until_the_kernel_has_dropped_the_name(
    caches: KernelCaches, kernel: SlowKernel
) -> None:
    dropped = asyncio.Event()
    caches.entry_changed(ROOT, b"log")
    caches.when_dropped(dropped.set)
    for _ in range(20):
        await asyncio.sleep(0)
    assert not dropped.is_set()
    kernel.lock.set()
    await asyncio.wait_for(dropped.wait(), 30)
    assert kernel.dropped == [(ROOT, b"log")]


async def test_an_open_by_a_name_that_is_not_dropped_yet_is_looked_up_again(
    caches: KernelCaches, kernel: SlowKernel
) -> None:
    assert not _is_refused(caches, OLD)
    caches.entry_changed(ROOT, b"log")
    assert _is_refused(caches, OLD)
    assert not _is_refused(caches, OLD), "the kernel has looked the name up, and repeats the open once only"
    assert _is_refused(caches, OLD, OTHER)
    assert not _is_refused(caches, NEW)
    await _drop(caches, kernel)
    assert not _is_refused(caches, OLD, THREAD + 2)


async def test_an_open_by_a_name_that_was_just_looked_up_is_not_refused(
    caches: KernelCaches, kernel: SlowKernel
) -> None:
    """`tmp` is renamed over `log`: the open of `log` was refused by the old inode, and now comes with the new one."""
    caches.entry_changed(ROOT, b"tmp")
    caches.entry_changed(ROOT, b"log")
    assert _is_refused(caches, OLD)
    caches.undropped.found(NEW, THREAD)
    assert not _is_refused(caches, NEW)
    assert _is_refused(caches, NEW, OTHER)
    await _drop(caches, kernel)


async def test_a_name_leads_where_the_kernel_was_told_last() -> None:
    known = KnownNames()
    known.add(OLD, ROOT, b"log")
    known.add(NEW, ROOT, b"log")
    known.forget(OLD, 1)
    assert known.at(ROOT, b"log") == NEW
    known.forget(NEW, 1)
    assert known.at(ROOT, b"log") is None


class Client:
    """Keeps what is acknowledged; a call is answered when the test says so."""

    connected = True
    patience_left = 30.0

    def __init__(self) -> None:
        self.acknowledged: list[int] = []
        self.answer: asyncio.Future[pb.Done] = asyncio.get_running_loop().create_future()

    def acknowledge(self, number: int) -> None:
        self.acknowledged.append(number)

    async def call(self, name: str, request: Message, recover: Recover | None = None) -> pb.Done:
        return await asyncio.shield(self.answer)


def _volume(directory: Path, client: Client) -> Volume:
    request = MountRequest("docs", directory, directory / "socket", "id", False, 30.0)
    return Volume(request, lambda *_: client)  # type: ignore[arg-type, return-value]


async def test_a_mount_whose_own_call_holds_a_folder_acknowledges_before_the_kernel_has_dropped_the_name(
    caches: KernelCaches, kernel: SlowKernel, tmp_path: Path
) -> None:
    """Else two mounts that rename in one folder wait for each other: each kernel waits for its own rename's lock."""
    client = Client()
    volume = _volume(tmp_path, client)
    volume.use_kernel(caches)
    change = pb.Change(entries=[pb.EntryChange(parent=ROOT, name=b"log", gone=True)])
    change.number = 1
    volume.changed(change)
    assert client.acknowledged == []
    renaming = asyncio.ensure_future(volume.daemon.call("rename", pb.RenameRequest()))
    for _ in range(3):
        await asyncio.sleep(0)
    assert volume.daemon.names_in_flight
    change.number = 2
    volume.changed(change)
    assert client.acknowledged == [2]
    client.answer.set_result(pb.Done())
    await renaming
    change.number = 3
    volume.changed(change)
    assert client.acknowledged == [2]
    await _drop(caches, kernel)
    assert client.acknowledged == [2, 1, 3]


@pytest.mark.parametrize("number", [errno.ENOENT, errno.ESTALE])
@pytest.mark.parametrize(
    ("name", "request_"),
    [
        ("get_attr", pb.GetAttrRequest(ino=OLD)),
        ("set_attr", pb.SetAttrRequest(ino=OLD)),
        ("read_link", pb.ReadLinkRequest(ino=OLD)),
        ("open", pb.OpenRequest(ino=OLD)),
        ("get_xattr", pb.XattrRequest(ino=OLD)),
        ("set_xattr", pb.SetXattrRequest(ino=OLD)),
        ("list_xattr", pb.XattrRequest(ino=OLD)),
        ("remove_xattr", pb.XattrRequest(ino=OLD)),
    ],
)
async def test_the_name_of_an_inode_that_is_gone_is_looked_up_again_and_the_daemon_asked(
    name: str, request_: Message, number: int, tmp_path: Path
) -> None:
    client = Client()
    volume = _volume(tmp_path, client)
    volume.state.attrs.put(pb.Attr(ino=OLD, kind=pb.KIND_FILE))
    client.answer.set_exception(OSError(number, "gone"))
    with pytest.raises(OSError) as caught:
        await volume.daemon.call(name, request_)
    assert caught.value.errno == errno.ESTALE
    assert volume.state.attrs.get(OLD) is None
