# SPDX-License-Identifier: GPL-3.0-or-later
"""A device and a filesystem that do nothing but remember, for tests of the local API over a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

from holofs_api import API_VERSION
from holofsd.core.document import Role
from holofsd.core.errors import ContentTimeout, InviteUnknown, NoSuchName, RoleTooLow, VolumeUnknown
from holofsd.core.ids import BlobHash, Ino, VolumeId
from holofsd.core.state import Kind
from holofsd.fs import types as fs
from holofsd.fs.types import Alternative
from holofsd.rpc import device_api as api
from holofsd.rpc.browsing_api import WindowLink
from holofsd.rpc.traffic_api import PauseInfo, TrafficStatus
from holofsd.rpc.watching_api import Event, PingReply

VOLUME = VolumeId(b"v" * 32)


def attr(ino: int, size: int = 0) -> fs.Attr:
    return fs.Attr(Ino(ino), Kind.FILE, 0o640, size, 1, 11, 12, b"version", False, False)


class FakeFilesystem:
    is_closed = False

    def __init__(self) -> None:
        self.attached: list[fs.Attachment] = []
        self.detached: list[fs.Attachment] = []
        self.gate = asyncio.Event()
        self.changes: asyncio.Queue[fs.ChangeBatch] = asyncio.Queue()
        self.committed: list[tuple[int, bytes | None]] = []
        self.cut_short = 0
        self.watching = 0
        self.ended = asyncio.Event()
        self.news: list[fs.Opened] = []
        """Files that are told with the changes."""

    async def others_know(self, att: fs.Attachment) -> None:
        pass

    def acknowledge(self, att: fs.Attachment, number: int) -> None:
        pass

    async def caught_up(self, but: str = "") -> None:
        pass

    def attach(self, request: fs.AttachRequest) -> fs.Attachment:
        attachment = fs.Attachment(f"id-{len(self.attached)}", VOLUME, "docs", request, request.read_only)
        self.attached.append(attachment)
        return attachment

    def lease(self, attachment: fs.Attachment) -> tuple[Ino, int]:
        return (Ino(0), 0) if attachment.read_only else (Ino(1000), 10)

    def detach(self, attachment: fs.Attachment) -> None:
        self.detached.append(attachment)

    async def watch(self, attachment: fs.Attachment) -> AsyncIterator[fs.ChangeBatch]:
        self.watching += 1
        try:
            while not self.ended.is_set():
                yield await self.changes.get()
        finally:
            self.watching -= 1

    def news_of(self, batch: fs.ChangeBatch) -> list[fs.Opened]:
        return self.news

    async def lookup(self, att: fs.Attachment, parent: Ino, name: bytes) -> fs.Attr:
        if name == b"missing":
            raise NoSuchName("There is no such name.")
        if name == b"defect":
            raise KeyError("nobody expected this")
        if name == b"slow":
            # Suspends although the table says that it does not: the call must still be answered.
            await self.gate.wait()
        return attr(int(parent) + 1)

    async def set_attr(self, att: fs.Attachment, ino: Ino, change: fs.SetAttr) -> fs.Attr:
        async with asyncio.timeout(0.01):
            await asyncio.sleep(0)
        return attr(ino, change.size or 0)

    async def read_dir(self, att: fs.Attachment, ino: Ino, after: bytes, limit: int) -> fs.Listing:
        entries = tuple((f"{number:04}".encode() + b"\xff", attr(number)) for number in range(1, limit + 1))
        return fs.Listing(entries, True)

    async def open(self, att: fs.Attachment, ino: Ino, handle: int, **_: Any) -> fs.Opened:
        extents = (
            fs.InlineExtent(0, b"inline"),
            fs.LocalExtent(6, 4, "/content/ab", 2),
            fs.HoleExtent(10, 5),
            fs.RemoteExtent(15, 7, BlobHash(b"h" * 32)),
        )
        return fs.Opened(attr(ino, 22), fs.ContentMap(b"version", 22, extents))

    async def commit(self, att: fs.Attachment, request: fs.CommitRequest) -> fs.Attr:
        await self.gate.wait()
        self.committed.append((request.handle, request.data))
        return attr(request.handle, len(request.data or b""))

    async def fetch(
        self, att: fs.Attachment, ino: Ino, version: bytes, offset: int, length: int, suspect: bool = False
    ) -> fs.ContentMap:
        if length == 1:
            raise ContentTimeout("Nobody sent it in time.")
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cut_short += 1
            raise
        return fs.ContentMap(version, length)

    async def release(self, att: fs.Attachment, handle: int) -> None: ...


class FakeDevice:
    def __init__(self) -> None:
        self.fs = FakeFilesystem()
        self.volumes = [api.VolumeSummary("76" * 32, "docs", Role.ADMIN, "ready")]
        self.shut_down = False
        self.paused: list[PauseInfo] = []
        self.limits = TrafficStatus()
        shown = Alternative("01" * 16, b"a\xff.txt", "lap", 3, 4, "file", True)
        self.conflict_list: tuple[api.Conflict, ...] = (
            api.Conflict(b"a\xff (conflict).txt", b"a\xff.txt", "desk", 1, 2, "docs", "02" * 16, "file", False, shown),
        )
        self.alternatives = {"01" * 16: [b"one\n", b"two\n"], "02" * 16: [b"one\nthree\n"]}
        self.resolutions: list[api.Resolution] = []
        self.problem = ""
        self.heard = ("holofs-mount 9", API_VERSION)
        self.files = {b"a\xff.txt": b"one\n"}

    def identity(self) -> api.Identity:
        return api.Identity("aa" * 32, "holofsd 9", 4711)

    async def caught_up(self) -> None:
        pass

    async def filesystem(self, volume: str) -> FakeFilesystem:
        if volume != "docs":
            raise VolumeUnknown(f"This device has no volume {volume}.")
        return self.fs

    async def status(self, volume: str) -> api.DeviceStatus:
        safety = api.DeviceSafety("bb" * 32, "desk", True, True)
        of = api.VolumeStatus(self.volumes[0], files=3, devices=(safety,), quarantine_reasons=("bad name",))
        mount = api.MountInfo("docs", "/mnt/docs", False, "up", program=self.heard[0], api_version=self.heard[1])
        told = api.DeviceStatus("aa" * 32, "lap", "holofsd 9", 4711, 60, (of,), (mount,), ("clock",), 1)
        return replace(told, traffic=await self.traffic(), peers=await self.peers())

    async def create_volume(self, name: str) -> api.VolumeSummary:
        return api.VolumeSummary("00" * 32, name, Role.ADMIN, "ready")

    async def share(
        self, volume: str, role: Role, uses: int, expires_seconds: int, reuse: bool = False
    ) -> api.ShareReply:
        if volume == "theirs":
            raise RoleTooLow("Only an admin can share this volume.")
        return api.ShareReply("holofs1abc", expires_seconds * 1000, uses, role)

    async def invites(self, volume: str) -> tuple[api.InviteSummary, ...]:
        return (
            api.InviteSummary("0123456789ab", Role.WRITER, 1, 5, 0),
            api.InviteSummary("ba9876543210", Role.READER, 0, 5, 7),
        )

    async def revoke_invite(self, volume: str, invite: str) -> tuple[api.InviteSummary, ...]:
        if invite == "none":
            raise InviteUnknown("There is no such invite.")
        return (api.InviteSummary(invite, Role.WRITER, 1, 5, 0),)

    async def recovery_code(self, volume: str, forget: bool) -> str:
        return "forgotten" if forget else "holofs-recovery-1-abc"

    async def recover(self, code: str, name: str, sources: tuple[str, ...]) -> api.VolumeSummary:
        return api.VolumeSummary("76" * 32, "/".join([code, name, *sources]), Role.ADMIN, "ready")

    async def join(self, ticket: str, name: str, no_wait: bool) -> AsyncIterator[api.JoinProgress]:
        yield api.JoinProgress("connecting", "Looking for desk.")
        yield api.JoinProgress("ready", "Here.", api.VolumeSummary("76" * 32, name or "docs", Role.WRITER, "ready"))

    async def list_volumes(self) -> tuple[api.VolumeSummary, ...]:
        return tuple(self.volumes)

    async def leave(self, volume: str, delete: bool) -> str:
        return "" if delete else "/kept"

    async def members(self, volume: str) -> tuple[api.Member, ...]:
        return (
            api.Member("aa" * 32, "lap", Role.ADMIN, is_self=True),
            api.Member("bb" * 32, "desk", None, removed=True),
        )

    async def set_member(
        self, volume: str, device: str, role: Role | None, keep_invites: bool = False, undo: bool = False
    ) -> api.Member:
        return api.Member("bb" * 32, device, role, removed=role is None)

    async def mount(self, volume: str, path: str, options: api.MountOptions) -> api.MountInfo:
        return api.MountInfo(volume, path, options.read_only, "up", pid=5)

    async def device_name(self, new: str | None) -> str:
        return new or "laptop"

    async def unmount(self, path: str, force: bool) -> bool:
        return force

    def mount_heard(self, mount_id: str, program: str, api_version: int) -> None:
        self.heard = (program, api_version)

    async def restore_mounts(self) -> tuple[api.MountInfo, ...]:
        return ()

    async def peers(self) -> tuple[api.PeerSummary, ...]:
        return (api.PeerSummary("bb" * 32, "desk", True, ("docs",), "10.0.0.2:4433", sending=2048, seconds_left=90),)

    async def conflicts(self, volume: str, path: bytes) -> tuple[api.Conflict, ...]:
        return self.conflict_list

    async def resolve(self, asked: api.Resolution) -> AsyncIterator[api.SettledConflict]:
        self.resolutions.append(asked)
        for found in self.conflict_list:
            copy = Alternative(found.id, found.path, found.device, found.written_ms, found.size, found.kind, found.here)
            if asked.keep == "both":
                yield api.SettledConflict("docs", found.shown_path, None, (), (found.path,), "")
            else:
                yield api.SettledConflict("docs", found.shown_path, found.shown, (copy,), (), self.problem)

    async def read_alternative(self, volume: str, path: bytes, id: str) -> AsyncIterator[bytes]:
        for piece in self.alternatives[id]:
            yield piece

    async def wait(self, volume: str, copies: int, timeout_seconds: int) -> AsyncIterator[api.WaitProgress]:
        yield api.WaitProgress(0, False, "nobody yet")
        if not timeout_seconds:
            yield api.WaitProgress(copies, True, "done")

    async def pause(self, volume: str, device: str, for_seconds: int) -> TrafficStatus:
        if volume == "none":
            raise VolumeUnknown("This device has no volume 'none'.")
        device_id = "bb" * 32 if device else ""
        until_ms = 4_102_444_800_000 if for_seconds else 0  # in 2100
        self.paused = [*self.paused, PauseInfo(volume, device, device_id, until_ms)]
        return await self.traffic()

    async def resume(self, volume: str, device: str) -> TrafficStatus:
        ended = {(volume, device)} if volume or device else {(one.volume, one.device) for one in self.paused}
        self.paused = [one for one in self.paused if (one.volume, one.device) not in ended]
        return await self.traffic()

    async def traffic(self) -> TrafficStatus:
        return replace(self.limits, pauses=tuple(self.paused))

    async def events(self, since: str, no_wait: bool) -> AsyncIterator[Event]:
        yield Event("begin", 1, "run-0") if not since else Event("missed", 1, "run-0")
        yield Event("changed", 2, "run-1", "docs", b"a\xff.txt", "desk", "bb" * 32, elsewhere=True)
        yield Event("held", 3, "run-2", "docs", device="desk", files=60)

    async def ping(self, device: str, count: int, pause_ms: int, measure: bool) -> AsyncIterator[PingReply]:
        for number in range(count):
            last = measure and number == count - 1 and device != "empty"
            answered = device != "silent"
            rate = (3 << 20, 4 << 20) if last else (0, 0)
            yield PingReply("bb" * 32, device, "direct", "10.0.0.2:4433", answered, 1234 * answered, *rate)

    async def shutdown(self, unmount: bool) -> None:
        self.shut_down = True

    async def list_folder(self, volume: str, path: bytes, after: bytes, limit: int) -> fs.FolderListing:
        if path:
            raise NoSuchName("There is no such file or directory in this volume.")
        names = [*(name for name in sorted(self.files) if name > after)]
        entries = (fs.FolderEntry(name, "file", len(self.files[name]), 5, True, False, False) for name in names)
        return fs.FolderListing((*entries,)[: limit or 1000], True)

    async def list_ignored(self, volume: str, limit: int) -> fs.IgnoredListing:
        found = (fs.IgnoredFile(b"build", "directory", 0, ".holofsignore:2: /build/"),)
        return fs.IgnoredListing(found, True, 12, 3456)

    async def read_file(self, volume: str, path: bytes) -> AsyncIterator[bytes]:
        if path not in self.files:
            raise NoSuchName("There is no such file or directory in this volume.")
        yield self.files[path]

    async def open_window(self) -> WindowLink:
        return WindowLink("http://127.0.0.1:9/?link=secret", 5)
