# SPDX-License-Identifier: GPL-3.0-or-later
"""Import of a folder: walks the source and decides about each name, by what the volume has at its path.

A second run goes on where the first one ended, for it passes over what is there with the same content. Another content
is never replaced: it is reported.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping
from typing import Final

from holofs_api.v1 import control_pb2 as pb
from holofs_api.virtual_attributes import is_virtual
from holofsctl.errors import CommandError
from holofsctl.exit_codes import Exit
from holofsctl.output import safe
from holofsctl.progress import Progress
from holofsctl.transfer.handover import Handed, Handover, Orders
from holofsctl.transfer.report import TransferReport
from holofsctl.transfer.source import Level, Visit, walk
from holofsctl.transfer.taking import CannotTake, hash_file

_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_NO_ROOM: Final = "The disk of this device is full: make room there, then import again, which goes on from here."
_OTHER_KINDS: Final = {
    stat.S_IFSOCK: "a socket",
    stat.S_IFIFO: "a pipe",
    stat.S_IFBLK: "a device",
    stat.S_IFCHR: "a device",
}


class Importer:
    """Import of a folder. `keep_out`: folders that are left out, by absolute path, with the reason."""

    def __init__(
        self, handover: Handover, report: TransferReport, orders: Orders, bar: Progress, keep_out: Mapping[bytes, str]
    ) -> None:
        self._handover = handover
        self._report = report
        self._orders = orders
        self._bar = bar
        self._keep_out = keep_out
        self._links: dict[tuple[int, int], bytes] = {}
        """Paths of files that have further names, by device and inode."""

    def run(self, source: bytes, path: bytes) -> None:
        """Imports what is in a folder, an absolute path, to a path of the volume. Raises CommandError."""
        try:
            top = self._top(source, path)
            self._bar.say("Looking")
            self._bar.expect(self._count(Level(source, path, top.stat, top.found)), is_bytes=True)
            for step in walk(top, self._handover.look, self._report.problem):
                if isinstance(step, Visit):
                    self._bar.say(os.fsdecode(step.path))
                    self._visit(step)
                else:
                    self._leave(step)
            self._bar.say("Verifying")
            self._handover.finish()
        except BaseException:
            self._handover.give_up()
            raise
        if self._orders.move:
            self._remove_folders(source)

    def _top(self, source: bytes, path: bytes) -> Level:
        """The folder that everything goes into, made with all above it where it is missing."""
        found_here = os.stat(source)
        found: pb.FoundName | None = self._handover.look([pb.ImportName()])[0]
        parts = path.split(b"/") if path else []
        for number in range(1, len(parts) + 1):
            at = b"/".join(parts[:number])
            if found is not None:
                there = self._handover.look([pb.ImportName(path=at)])[0]
                if there.kind not in ("", "directory"):
                    sentence = f"{safe(at)} is no folder in the volume: say another path."
                    raise CommandError(sentence, Exit.USAGE, "not-a-directory")
                found = there if there.kind else None
            if found is None:
                item = pb.ImportItem(path=at, kind="directory", mode=0o755, mtime_ns=found_here.st_mtime_ns)
                self._handover.add(Handed(item, source, found_here))
        if found is None:
            self._handover.settle()
            if source in self._handover.refused:
                raise CommandError(f"{safe(path)} cannot be made in the volume: say another path.", Exit.USAGE)
        return Level(source, path, found_here, found)

    def _count(self, top: Level) -> int:
        """Bytes of all files. The daemon hears of each name that the volume has, and does not fetch its content."""
        total = 0
        for step in walk(top, self._handover.look, lambda _path, _why: None):
            if isinstance(step, Visit):
                step.skip = step.full in self._keep_out
                total += step.stat.st_size if stat.S_ISREG(step.stat.st_mode) else 0
        return total

    # ---- one name
    def _visit(self, visit: Visit) -> None:
        mode = visit.stat.st_mode
        if visit.level.full in self._handover.refused:
            visit.skip = True
            self._handover.refused.add(visit.full)
        elif visit.full in self._keep_out:
            visit.skip = True
            self._report.problem(visit.full, self._keep_out[visit.full])
        elif stat.S_ISDIR(mode):
            self._visit_folder(visit)
        elif stat.S_ISLNK(mode):
            self._visit_symlink(visit)
        elif stat.S_ISREG(mode):
            self._visit_file(visit)
        else:
            kind = _OTHER_KINDS.get(stat.S_IFMT(mode), "no file")
            self._report.problem(visit.full, f"it is {kind}, which a volume cannot hold")

    def _visit_folder(self, visit: Visit) -> None:
        if visit.found is None:
            self._hand_over(visit, Handed(_item(visit, "directory"), visit.full, visit.stat))
        elif visit.found.kind != "directory":
            visit.skip = True
            self._differs(visit, visit.found)

    def _visit_symlink(self, visit: Visit) -> None:
        item = _item(visit, "symlink")
        try:
            item.target = os.readlink(visit.full)
        except OSError as error:
            self._report.problem(visit.full, f"it cannot be read ({error.strerror})")
            return
        handed = Handed(item, visit.full, visit.stat)
        if visit.found is None:
            self._hand_over(visit, handed)
        elif (visit.found.kind, visit.found.target) == ("symlink", item.target):
            self._handover.same(handed)
        else:
            self._differs(visit, visit.found)

    def _visit_file(self, visit: Visit) -> None:
        inode = (visit.stat.st_dev, visit.stat.st_ino)
        first = self._links.get(inode) if visit.stat.st_nlink > 1 else None
        try:
            if visit.found is not None:
                if not self._compare(visit, visit.found):
                    return
            elif first is not None:
                item = _item(visit, "file")
                item.link_to = first
                self._hand_over(visit, Handed(item, visit.full, visit.stat))
                self._bar.advance(visit.stat.st_size)
            else:
                self._hand_over(visit, self._taken(visit))
        except CannotTake as problem:
            self._report.problem(visit.full, str(problem))
            return
        if visit.stat.st_nlink > 1:
            self._links.setdefault(inode, visit.path)

    def _taken(self, visit: Visit, replaces: bytes = b"") -> Handed:
        try:
            taken = self._handover.taker.take(visit.full, visit.stat, self._bar.advance)
        except OSError as error:
            if error.errno in _FULL:
                raise CommandError(_NO_ROOM, code="no-space") from None
            raise CannotTake(f"it cannot be read ({error.strerror})") from None
        visit.stat = taken.stat
        item = _item(visit, "file")
        item.staging, item.replaces = taken.staging, replaces
        if taken.data is not None:
            item.data = taken.data
        return Handed(item, visit.full, taken.stat, taken, taken.hash)

    def _hand_over(self, visit: Visit, handed: Handed) -> None:
        visit.level.gained = True
        if handed.item.kind != "symlink":
            handed.item.xattrs.extend(_xattrs(visit.full))
        self._handover.add(handed)

    def _compare(self, visit: Visit, there: pb.FoundName) -> bool:
        """A file whose name is taken: the same content is welcome, any other one stays out. False: it is another."""
        here = visit.stat
        if there.kind != "file" or there.size != here.st_size:
            self._differs(visit, there)
            return False
        is_trusted = there.here and there.hash and there.mtime_ns == here.st_mtime_ns
        if is_trusted and not (self._orders.move or self._orders.verify):
            self._bar.advance(here.st_size)
            self._handover.same(Handed(_item(visit, "file"), visit.full, here))
            return True
        if not there.hash:
            there = self._handover.look([pb.ImportName(path=visit.path)], hashed=True)[0]
        if not there.hash:
            raise CannotTake("a program is writing the file of this name in the volume: import again later")
        hash = hash_file(visit.full, here, self._bar.advance if there.here else _nobody)
        if hash != there.hash:
            self._differs(visit, there)
            return False
        if there.here:
            self._handover.same(Handed(_item(visit, "file"), visit.full, here, hash=hash))
        else:
            self._hand_over(visit, self._taken(visit, there.version))
        return True

    def _differs(self, visit: Visit, there: pb.FoundName) -> None:
        word = "folder" if there.kind == "directory" else there.kind
        self._report.problem(visit.full, f"it is not imported, because another {word} has its name in the volume")

    # ---- folders, when everything in them is done
    def _leave(self, level: Level) -> None:
        """Dates a folder after everything in it was handed over, and gives it its own mode where it is new."""
        is_new = level.found is None
        if not level.path or level.full in self._handover.refused or not (is_new or level.gained):
            return
        mode = level.stat.st_mode if level.found is None else level.found.mode
        mtime_ns = level.stat.st_mtime_ns
        item = pb.ImportItem(path=level.path, kind="directory", mode=stat.S_IMODE(mode), mtime_ns=mtime_ns, dated=True)
        self._handover.add(Handed(item, level.full, level.stat))

    def _remove_folders(self, source: bytes) -> None:
        """Removes folders that are empty now and in the volume, but for the one that was named."""
        for full, _folders, _files in os.walk(source, topdown=False):
            if full == source or full in self._keep_out or full in self._handover.refused:
                continue
            try:
                os.rmdir(full)
            except OSError:
                continue  # something is left in it, which was named


def _nobody(_amount: int) -> None:
    return


def _item(visit: Visit, kind: str) -> pb.ImportItem:
    found = visit.stat
    return pb.ImportItem(path=visit.path, kind=kind, mode=stat.S_IMODE(found.st_mode), mtime_ns=found.st_mtime_ns)


def _xattrs(full: bytes) -> list[pb.ExtendedAttribute]:
    """Attributes that users set; none where the filesystem does not tell of any."""
    found: list[pb.ExtendedAttribute] = []
    try:
        for name in map(os.fsencode, os.listxattr(full, follow_symlinks=False)):
            if name.startswith(b"user.") and not is_virtual(name):
                value = os.getxattr(full, name, follow_symlinks=False)
                found.append(pb.ExtendedAttribute(name=name, value=value))
    except OSError:
        return found
    return found
