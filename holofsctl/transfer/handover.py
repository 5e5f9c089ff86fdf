# SPDX-License-Identifier: GPL-3.0-or-later
"""The daemon's side of an import, as the command sees it: names handed over in batches, and looked at afterwards.

With `move` a name of the source is removed only after the daemon has stored its file durably: one whose very inode was
handed over at once, any other one after its content was read back and has the hash of what was read here. So whatever
is killed, each file is in the source, in the volume, or in both (docs/crash-windows.md#importing).
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from holofs_api.v1 import control_pb2 as pb
from holofsctl.client import Exchange
from holofsctl.errors import CommandError
from holofsctl.transfer.report import TransferReport
from holofsctl.transfer.taking import CannotTake, Taken, Taker, hash_file, unchanged

INLINE_BYTES: Final = 65536
"""Content up to this size goes along with the call."""
INLINE_MOVED_BYTES: Final = 4096
"""The same for files that are moved: larger ones need not be read at all."""
_BATCH_ITEMS: Final = 128
_BATCH_DATA: Final = 2 << 20
_BATCH_STAGED: Final = 256 << 20
"""Bytes of content in one batch: what an interruption makes an import do again."""
_AHEAD: Final = 2
"""Requests that the daemon may have before the next one waits for a reply."""
_WINDOW: Final = 512
"""Files that are imported and not verified yet."""


@dataclass(frozen=True, slots=True)
class Orders:
    """Orders of a person: what becomes of the source, and whether everything is read and compared."""

    move: bool = False
    verify: bool = False


@dataclass(slots=True)
class Handed:
    """An item on its way, and where it comes from. `hash`: of the source's content, empty where it was not read."""

    item: pb.ImportItem
    full: bytes
    stat: os.stat_result
    taken: Taken | None = None
    hash: bytes = b""

    @property
    def is_moved(self) -> bool:
        """Returns whether the volume gets the very inode of the source."""
        return self.taken is not None and self.taken.how == "moved"


class Handover:
    """Batches on their way to the daemon, and what is not verified yet. All methods raise CommandError."""

    def __init__(self, exchange: Exchange, report: TransferReport, orders: Orders, volume: str) -> None:
        self._exchange = exchange
        self._report = report
        self._orders = orders
        self._batch: list[Handed] = []
        self._batch_data = self._batch_staged = 0
        self._handlers: deque[Callable[[pb.ImportReply], None]] = deque()
        """Takers of the replies that are still to come, in order."""
        self._unverified: list[Handed] = []
        self.refused: set[bytes] = set()
        """Folders of the source that did not get into the volume."""
        self._exchange.send(pb.ImportRequest(begin=pb.ImportBegin(volume=volume)))
        begun = self._exchange.receive().begun
        self._folder, self._reserve = begun.folder, begun.reserve_bytes
        inline = INLINE_MOVED_BYTES if orders.move else INLINE_BYTES
        self.taker = Taker(begun.folder, inline, orders.move, orders.verify, self._make_room)

    # ---- asking
    def look(
        self, names: Iterable[pb.ImportName], *, hashed: bool = False, read_back: bool = False, room: int = 0
    ) -> Sequence[pb.FoundName]:
        """State of paths in the volume, after everything that was sent."""
        found: list[Sequence[pb.FoundName]] = []
        asked = pb.ImportLook(names=names, hashed=hashed, read_back=read_back, room=room)
        self._send(pb.ImportRequest(look=asked), lambda reply: found.append(reply.found.names))
        while not found:
            self._receive()
        return found[0]

    def _make_room(self, size: int) -> None:
        """Lets the daemon make room, or refuse, where the disk of the staging folder is nearly full."""
        disk = os.statvfs(self._folder)
        if disk.f_bavail * disk.f_frsize < self._reserve + size + _BATCH_STAGED:
            self.flush()
            self.look([], room=size)

    # ---- sending
    def add(self, handed: Handed) -> None:
        self._batch.append(handed)
        self._batch_data += len(handed.item.data)
        self._batch_staged += handed.stat.st_size if handed.item.staging else 0
        is_full = self._batch_data >= _BATCH_DATA or self._batch_staged >= _BATCH_STAGED
        if is_full or len(self._batch) >= _BATCH_ITEMS:
            self.flush()

    def flush(self) -> None:
        """Sends the batch. While the daemon works on it, the next one is made ready."""
        if self._batch:
            batch, self._batch = self._batch, []
            self._batch_data = self._batch_staged = 0
            move = self._orders.move
            items = pb.ImportItems(items=[handed.item for handed in batch], durable=move, hold=move)
            self._send(pb.ImportRequest(items=items), lambda reply: self._arrived(batch, reply))
            while len(self._handlers) > _AHEAD:
                self._receive()
        if len(self._unverified) >= _WINDOW:
            self._verify()

    def same(self, handed: Handed) -> None:
        """A name that the volume has already, with the same content."""
        self._report.same += 1
        if handed.hash or self._orders.move:
            self._unverified.append(handed)
        if len(self._unverified) >= _WINDOW:
            self._verify()

    def settle(self) -> None:
        """Sends what is left, and hears what became of it."""
        self.flush()
        self._receive_all()

    def finish(self) -> None:
        """Sends what is left, and verifies everything."""
        self.settle()
        self._verify()

    def give_up(self) -> None:
        """Tidies after an interruption: takes back what was not sent, and hears what became of what was."""
        for handed in self._batch:
            if handed.taken is not None:
                self.taker.drop(handed.taken)
        self._batch = []
        try:
            self._receive_all()
        except CommandError:
            return  # the daemon is gone, or has refused: it knows what it has

    def _send(self, request: pb.ImportRequest, handler: Callable[[Any], None]) -> None:
        self._handlers.append(handler)
        self._exchange.send(request)

    def _receive_all(self) -> None:
        while self._handlers:
            self._receive()

    def _receive(self) -> None:
        reply = self._exchange.receive()  # an interruption while it waits leaves the handler for the next try
        self._handlers.popleft()(reply)

    # ---- what became of it
    def _arrived(self, batch: Sequence[Handed], reply: pb.ImportReply) -> None:
        for handed, result in zip(batch, reply.results.results, strict=True):
            if result.what == "imported":
                self._is_in(handed, result.why)
            else:
                self._is_out(handed, result)
        staging = [handed.item.staging for handed in batch if handed.item.staging]
        if self._orders.move and staging:
            taken = pb.ImportRequest(taken=pb.ImportTaken(staging=staging))
            self._send(taken, lambda _reply: None)

    def _is_out(self, handed: Handed, result: pb.ImportResult) -> None:
        if handed.taken is not None:
            self.taker.drop(handed.taken)
        if handed.item.kind == "directory":
            if result.what == "exists":
                return  # somebody made it meanwhile: what is in it goes there
            self.refused.add(handed.full)
        self._report.problem(handed.full, f"it is not imported: {_continued(result.why)}")

    def _is_in(self, handed: Handed, left_out: str) -> None:
        if left_out:
            self._report.problem(handed.full, f"it is imported, but not all of it: {_continued(left_out)}")
        if handed.item.dated:
            return
        self._count(handed)
        if handed.is_moved:
            self._remove(handed)
        if handed.item.kind == "file" or (handed.item.kind == "symlink" and self._orders.move):
            self._unverified.append(handed)

    def _count(self, handed: Handed) -> None:
        report, item = self._report, handed.item
        if item.kind == "directory":
            report.folders += 1
        elif item.kind == "symlink":
            report.symlinks += 1
        elif item.link_to:
            report.links += 1
        else:
            report.files += 1
            report.content_bytes += handed.stat.st_size
            if handed.taken is not None and handed.taken.how:
                report.how[handed.taken.how] += 1

    # ---- verifying, and removing what was moved
    def _verify(self) -> None:
        """Compares what the daemon has stored with what was read here."""
        while self._unverified:
            some, self._unverified = self._unverified[:_WINDOW], self._unverified[_WINDOW:]
            # What is removed from the source on the strength of its hash has to be readable from the disk.
            for read_back in (False, True):
                part = [handed for handed in some if self._is_read_back(handed) is read_back]
                names = [pb.ImportName(path=handed.item.path) for handed in part]
                there = self.look(names, hashed=True, read_back=read_back) if part else ()
                for handed, found in zip(part, there, strict=True):
                    self._verify_one(handed, found)

    def _is_read_back(self, handed: Handed) -> bool:
        return self._orders.verify or (self._orders.move and not handed.is_moved)

    def _verify_one(self, handed: Handed, found: pb.FoundName) -> None:
        why = _difference(handed, found)
        if why:
            self._report.problem(handed.full, why)
            return
        self._report.verified += handed.item.kind == "file"
        if self._orders.move and not handed.is_moved and self._are_equal(handed, found):
            self._remove(handed)

    def _are_equal(self, handed: Handed, found: pb.FoundName) -> bool:
        """Returns whether source and volume are known to have the same content. A further name of a file was not read
        yet."""
        if handed.hash or handed.item.kind == "symlink":
            return True
        try:
            return hash_file(handed.full, handed.stat, lambda _amount: None) == found.hash
        except CannotTake as problem:
            self._report.problem(handed.full, f"it is imported, and stays here too: {problem}")
            return False

    def _remove(self, handed: Handed) -> None:
        """Removes a name of the source, and leaves its folder the time that it had."""
        full = handed.full
        if not unchanged(full, handed.stat):
            self._report.problem(full, "it is imported, and stays here too, because it was changed since")
            return
        folder = os.path.dirname(full)
        try:
            before = os.stat(folder)
            os.unlink(full)
            self._report.removed += 1
            os.utime(folder, ns=(before.st_atime_ns, before.st_mtime_ns))
        except OSError as error:
            self._report.problem(full, f"it is imported, but cannot be removed here ({error.strerror})")


def _difference(handed: Handed, found: pb.FoundName) -> str:
    """Fault of what is in the volume, as the rest of a sentence; empty: none."""
    item = handed.item
    if found.kind != item.kind or (item.kind == "symlink" and found.target != item.target):
        return "it was imported, but something else has its name in the volume by now"
    if item.kind != "file":
        return ""
    if found.size != handed.stat.st_size or not found.hash:
        return "it was imported, but the file in the volume was changed since"
    if handed.hash and handed.hash != found.hash:
        return "what the volume has stored is not what was read here: remove it there and import it again"
    return ""


def _continued(sentence: str) -> str:
    """A sentence as the rest of another one."""
    return f"{sentence[:1].lower()}{sentence[1:].rstrip('.')}"
