# SPDX-License-Identifier: GPL-3.0-or-later
"""Export of a volume: writes what the daemon lists of a volume to a folder.

Each file is written beside its place and gets its name when it is whole, so a second run goes on where the first one
ended. What is there with another content is never replaced: it is reported.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from blake3 import blake3

from holofs_api.v1 import control_pb2 as pb
from holofsctl.errors import CommandError
from holofsctl.progress import Progress
from holofsctl.transfer import copying
from holofsctl.transfer.report import TransferReport
from holofsctl.transfer.taking import CannotTake, hash_file

_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_PART: Final = b".holofs-part-"
"""Beginning of the name of a file that is not whole yet."""
_NO_LINKS: Final = (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS)
"""Answers of filesystems that have no hard links, or too many of one file."""


@dataclass(slots=True)
class _Folder:
    """A folder on the way, which gets its mode and time when everything is in it."""

    path: bytes
    full: bytes
    item: pb.ExportItem


class Exporter:
    """Export to an absolute path. `name`: of a single file that is exported into it."""

    def __init__(self, top: bytes, report: TransferReport, bar: Progress, *, verify: bool, name: bytes = b"") -> None:
        self._top = top
        self._report = report
        self._bar = bar
        self._verify = verify
        self._name = name
        self._folders: list[_Folder] = []
        self._left_out: set[bytes] = set()
        """Folders whose place something else has."""
        self._links: dict[bytes, bytes] = {}
        """First names of files that have several, by node."""

    def run(self, items: Iterable[pb.ExportItem]) -> None:
        """Raises CommandError where the disk is full."""
        self._bar.expect(0, is_bytes=True)  # how much there is is known when it is over
        try:
            for item in items:
                self._bar.say(os.fsdecode(item.path))
                self._close_up_to(item.path)
                self._put(item)
        finally:
            while self._folders:
                self._close(self._folders.pop())

    def _put(self, item: pb.ExportItem) -> None:
        above = item.path.rpartition(b"/")[0]
        full = self._full(item)
        if above in self._left_out:
            if item.kind == "directory":
                self._left_out.add(item.path)
            return
        if item.problem:
            self._report.problem(full, item.problem[:1].lower() + item.problem[1:].rstrip("."))
            return
        try:
            if item.kind == "directory":
                self._put_folder(item, full)
            elif item.kind == "symlink":
                self._put_symlink(item, full)
            else:
                self._put_file(item, full)
        except CannotTake as problem:
            self._report.problem(full, str(problem))
        except OSError as error:
            if error.errno in _FULL:
                sentence = (
                    "The disk of that folder is full: make room there, then export again, which goes on from here."
                )
                raise CommandError(sentence, code="no-space") from None
            self._report.problem(full, f"it cannot be written ({error.strerror})")

    def _full(self, item: pb.ExportItem) -> bytes:
        inside = item.path or (b"" if item.kind == "directory" else self._name)
        return self._top.rstrip(b"/") + b"/" + inside if inside else self._top

    # ---- folders
    def _put_folder(self, item: pb.ExportItem, full: bytes) -> None:
        try:
            os.mkdir(full, 0o700)
            self._report.folders += 1
        except FileExistsError:
            there = os.lstat(full)
            if not stat.S_ISDIR(there.st_mode):
                self._left_out.add(item.path)
                self._differs(full)
                return
            if not item.path:
                return  # the folder that was named: it is the person's own
            if there.st_mode & 0o700 != 0o700:
                os.chmod(full, there.st_mode | 0o700)  # until everything is in it
            self._report.same += 1
        self._folders.append(_Folder(item.path, full, item))

    def _close_up_to(self, path: bytes) -> None:
        while self._folders and not _is_below(path, self._folders[-1].path):
            self._close(self._folders.pop())

    def _close(self, folder: _Folder) -> None:
        try:
            self._set_xattrs(folder.item, folder.full)
            os.chmod(folder.full, folder.item.mode)
            os.utime(folder.full, ns=(folder.item.mtime_ns, folder.item.mtime_ns))
        except OSError as error:
            self._report.problem(folder.full, f"its mode and time cannot be set ({error.strerror})")

    # ---- symlinks
    def _put_symlink(self, item: pb.ExportItem, full: bytes) -> None:
        try:
            os.symlink(item.target, full)
        except FileExistsError:
            if stat.S_ISLNK(os.lstat(full).st_mode) and os.readlink(full) == item.target:
                self._report.same += 1
            else:
                self._differs(full)
            return
        self._report.symlinks += 1
        with suppress(OSError, NotImplementedError):
            os.utime(full, ns=(item.mtime_ns, item.mtime_ns), follow_symlinks=False)

    # ---- files
    def _put_file(self, item: pb.ExportItem, full: bytes) -> None:
        there = _lstat(full)
        first = self._links.get(item.node) if item.node else None
        if there is not None:
            self._compare(item, full, there)
        elif first is None or not self._linked(first, full):
            self._write(item, full)
        if item.node and first is None:
            self._links[item.node] = full

    def _linked(self, first: bytes, full: bytes) -> bool:
        try:
            os.link(first, full, follow_symlinks=False)
        except FileNotFoundError:
            return False  # the first name could not be written
        except OSError as error:
            if error.errno in _NO_LINKS:
                return False
            raise
        self._report.links += 1
        return True

    def _compare(self, item: pb.ExportItem, full: bytes, there: os.stat_result) -> None:
        if not stat.S_ISREG(there.st_mode) or there.st_size != item.size:
            self._differs(full)
            return
        if there.st_mtime_ns != item.mtime_ns or self._verify:
            if hash_file(full, there, self._bar.advance) != (item.hash or _hash_of(item)):
                self._differs(full)
                return
            self._report.verified += 1
        self._report.same += 1

    def _write(self, item: pb.ExportItem, full: bytes) -> None:
        folder, _, name = full.rpartition(b"/")
        part = folder + b"/" + _PART + blake3(name).hexdigest(length=8).encode()
        target = os.open(part, os.O_CREAT | os.O_TRUNC | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            how = self._fill(item, target)
            self._set_xattrs(item, part)
            os.fchmod(target, item.mode)
            os.utime(target, ns=(item.mtime_ns, item.mtime_ns))
            _give_name(part, full)
        except BaseException:
            with suppress(OSError):
                os.unlink(part)
            raise
        finally:
            os.close(target)
        self._report.files += 1
        self._report.content_bytes += item.size
        if how:
            self._report.how[how] += 1

    def _fill(self, item: pb.ExportItem, target: int) -> str:
        """Returns how the content got there; empty for what came with the item. Raises CannotTake."""
        if item.pieces:
            self._fill_from_pieces(item, target)
            return "copied"
        if not item.file:
            os.write(target, item.data)
            self._bar.advance(len(item.data))
            return ""
        source = _opened(item.file)
        try:
            hash, how = b"", "cloned"
            if not copying.clone(source, target):
                hash, how = copying.copy(source, target, item.size, self._bar.advance), "copied"
        finally:
            os.close(source)
        if self._verify:
            hash = copying.hash_of(target, item.size, _nobody)
        if item.hash and hash:
            if hash != item.hash:
                raise CannotTake("its content on this device is damaged: `holofsctl scrub` says more")
            self._report.verified += 1
        return how

    def _fill_from_pieces(self, item: pb.ExportItem, target: int) -> None:
        for piece in item.pieces:
            if not piece.file:
                os.lseek(target, piece.length, os.SEEK_CUR)
                self._bar.advance(piece.length)
                continue
            source = _opened(piece.file)
            try:
                copying.append(source, piece.offset, piece.length, target, self._bar.advance)
            finally:
                os.close(source)
        os.ftruncate(target, item.size)

    def _set_xattrs(self, item: pb.ExportItem, full: bytes) -> None:
        try:
            for xattr in item.xattrs:
                os.setxattr(full, xattr.name, xattr.value)
        except OSError as error:
            self._report.problem(full, f"its extended attributes cannot be stored there ({error.strerror})")

    def _differs(self, full: bytes) -> None:
        self._report.problem(full, "it is not exported, because something else is there")


def _lstat(full: bytes) -> os.stat_result | None:
    try:
        return os.lstat(full)
    except FileNotFoundError:
        return None


def _give_name(part: bytes, full: bytes) -> None:
    """Renames without replacing anything, where the filesystem has hard links."""
    try:
        os.link(part, full, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        os.rename(part, full)
    else:
        os.unlink(part)


def _hash_of(item: pb.ExportItem) -> bytes:
    """Hash of what is in the item, or in its file, where the daemon did not tell it."""
    if item.pieces:
        hasher = blake3()
        for piece in item.pieces:
            _hash_piece(hasher, piece)
        return hasher.digest()
    if not item.file:
        return blake3(item.data).digest()
    source = _opened(item.file)
    try:
        return copying.hash_of(source, item.size, _nobody)
    finally:
        os.close(source)


def _hash_piece(hasher: blake3, piece: pb.ExportPiece) -> None:
    source = _opened(piece.file or b"/dev/zero")
    try:
        for data in copying.pieces(source, piece.offset if piece.file else 0, piece.length):
            hasher.update(data)
    finally:
        os.close(source)


def _opened(file: bytes) -> int:
    try:
        return os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise CannotTake("it was changed while it was exported: export it again") from None


def _is_below(path: bytes, folder: bytes) -> bool:
    return not folder or path.startswith(folder + b"/")


def _nobody(_amount: int) -> None:
    return
