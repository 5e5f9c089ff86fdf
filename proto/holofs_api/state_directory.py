# SPDX-License-Identifier: GPL-3.0-or-later
"""Test whether a folder is a device's state directory, may become one, or is something else, which nobody touches.

A state directory is recognised by its marker, `holofs-device`, the first thing that is made in it. Those of earlier
programs have none; two of `lock`, `device.key` and `device.db` are as good, and so is what the beginning of a first
start left behind. Everything is looked at before anything is made or changed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
from enum import Enum, auto
from pathlib import Path
from typing import Final

from holofs_api import places
from holofs_api.words import quoted

MARKER: Final = "holofs-device"
FORMAT: Final = 1
"""Format of the state directory as a whole; its databases have formats of their own."""
_MARKS: Final = frozenset((MARKER, MARKER + ".new"))
_OF_EARLIER_PROGRAMS: Final = frozenset(("lock", "device.key", "device.db"))
_BEGINNING: Final = frozenset(("lock", "log"))
_LOG: Final = re.compile(r"(start\.log|holofsd\.log.*)")
_MADE_WITH_THE_FILESYSTEM: Final = "lost+found"
_LONGEST_NAME: Final = 255
_LONGEST_PATH: Final = 3800
"""Bytes; the system takes 4,095, and there are names below."""
_OTHER: Final = "choose another folder with --state-dir"


class StateDirError(Exception):
    """Error that is told in a sentence. `usage`: what was asked for makes no sense, whatever is on the disk."""

    def __init__(self, message: str, *, usage: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.usage = usage


class FolderContent(Enum):
    ABSENT = auto()
    EMPTY = auto()
    """A folder that holds nothing, or what the beginning of a first start left."""
    DEVICE = auto()


# ---- which folder
def resolved(told: str) -> Path:
    """The absolute path without symbolic links, so that one device has one name.

    Raises StateDirError, also for a folder inside a mount of HoloFS. That is never looked at: the program that asks
    may be the one that has to answer.
    """
    path = os.path.expanduser(told)
    if path.startswith("~"):
        raise StateDirError(f"There is no user {quoted(path.split('/')[0][1:])}: {_OTHER}.", usage=True)
    try:
        absolute = path if os.path.isabs(path) else os.path.join(os.getcwd(), path)
    except FileNotFoundError:
        raise StateDirError(f"{told} cannot be found: the folder that you are in is gone.") from None
    real = _followed(absolute)
    try:
        real.encode()
    except UnicodeEncodeError:
        shown = os.fsencode(real).decode("utf-8", "backslashreplace")
        raise StateDirError(f"The name of {shown} is not UTF-8: {_OTHER}.") from None
    if len(os.fsencode(real)) > _LONGEST_PATH or any(len(os.fsencode(p)) > _LONGEST_NAME for p in real.split("/")):
        raise StateDirError(f"{told} cannot be used as a state directory: {os.strerror(errno.ENAMETOOLONG)}.")
    return Path(real)


def _followed(absolute: str) -> str:
    try:
        walked = places.refuse_inside(absolute)
        if walked.mount is None:
            _check_links(absolute, walked.real)
            return walked.real
        if walked.mount.is_holofs:
            raise StateDirError(f"{walked.real} is a HoloFS mount, which cannot hold a state directory: {_OTHER}.")
        return places.look(absolute).real
    except places.PathRefused as refused:
        raise StateDirError(str(refused)) from None


def _check_links(absolute: str, real: str) -> None:
    """A link to nothing, on the way or at its end, is most often one to a disk that is not plugged in: a new device in
    its place is not what anybody wants. A new folder below a link to a folder is."""
    path = Path(absolute)
    there = next(part for part in (path, *path.parents) if os.path.lexists(part))
    try:
        there.stat()
    except FileNotFoundError:
        raise StateDirError(f"{absolute} leads to {real}, which does not exist; is its disk mounted?") from None
    except OSError:
        return  # said in its own words where the folder is looked at


# ---- what it is
def standing(state: Path) -> FolderContent:
    """Looks only. Raises StateDirError for whatever is no state directory, and cannot become one."""
    try:
        found = state.stat()
        names = set(os.listdir(state)) if stat.S_ISDIR(found.st_mode) else set()
    except FileNotFoundError:
        return FolderContent.ABSENT
    except NotADirectoryError:
        raise StateDirError(f"{_file_above(state)} is a file, not a folder: {_OTHER}.") from None
    except OSError as error:
        raise StateDirError(f"{state} cannot be read: {error.strerror}.") from None
    if not stat.S_ISDIR(found.st_mode):
        raise StateDirError(f"{state} is a file, not a folder: {_OTHER}.")
    names.discard(_MADE_WITH_THE_FILESYSTEM)
    if not names <= _BEGINNING | _MARKS and not _is_device(state, names):
        example = min(names - _BEGINNING - _MARKS)
        others = f"holds other things ({quoted(example)} for example)"
        raise StateDirError(f"{state} is not a state directory and {others}; nothing was changed: {_OTHER}.")
    if _is_device(state, names):
        _check_format(state)
        return FolderContent.DEVICE
    if names and not _is_beginning(state):
        raise StateDirError(f"{state} is not a state directory and holds other things: {_OTHER}.")
    return FolderContent.EMPTY


def _file_above(state: Path) -> Path:
    return next((above for above in state.parents if not above.is_dir() and above.exists()), state)


def _is_device(state: Path, names: set[str]) -> bool:
    if MARKER in names:
        return True
    return sum((state / name).is_file() for name in names & _OF_EARLIER_PROGRAMS) >= 2


def _is_beginning(state: Path) -> bool:
    """Returns whether the folder is that of a first start by an earlier program that was killed before it made a
    key."""
    log, lock = state / "log", state / "lock"
    try:
        if any(not _LOG.fullmatch(name) for name in (os.listdir(log) if log.exists() else ())):
            return False
        return not lock.exists() or (lock.stat().st_size <= 32 and not lock.read_bytes().strip(b"0123456789\n"))
    except OSError:
        return False


def _check_format(state: Path) -> None:
    try:
        text = (state / MARKER).read_text("ascii").strip()
    except FileNotFoundError:
        return
    except (OSError, ValueError):
        text = ""
    number = text.rpartition(" ")[2]
    if number.isdigit() and int(number) > FORMAT:
        raise StateDirError(f"{state} was made by a newer HoloFS: update this one.")


# ---- who needs what
def require_device(state: Path) -> None:
    """Raises StateDirError unless there is a device."""
    if standing(state) is not FolderContent.DEVICE:
        raise StateDirError(f"There is no device in {state}: `holofsctl up` makes one.")


def require_ours(state: Path) -> None:
    """Check that what is there belongs to us and can be written. Raises StateDirError."""
    owner = state.stat()
    if owner.st_uid != os.geteuid():
        raise StateDirError(f"{state} belongs to another user: {_OTHER}.")
    if os.statvfs(state).f_flag & os.ST_RDONLY:
        raise StateDirError(f"{state} is on a filesystem that is mounted read-only: {_OTHER}.")
    if not os.access(state, os.R_OK | os.W_OK | os.X_OK):
        raise StateDirError(f"{state} cannot be written to: `chmod u+rwx` it, or {_OTHER}.")


def prepare(state: Path) -> None:
    """The folder of a device, private and marked. Raises StateDirError."""
    make_folder(state)
    mark(state)


def make_folder(state: Path) -> None:
    """Makes the folder, and makes it private; first come all looks. Raises StateDirError."""
    try:
        known = standing(state)
        _check_place(state, known)
        if known is FolderContent.ABSENT:
            _make(_missing(state))
        if state.stat().st_mode & 0o077:
            _make_private(state)
    except OSError as error:
        raise StateDirError(f"{state} cannot be used: {error.strerror}.") from None


def mark(state: Path) -> None:
    """Comes before anything else is made in the folder: whatever a crash leaves is known again."""
    try:
        if not (state / MARKER).exists():
            _mark(state)
    except OSError as error:
        raise StateDirError(f"{state} cannot be used: {error.strerror}.") from None


def _check_place(state: Path, known: FolderContent) -> None:
    if known is not FolderContent.ABSENT:
        require_ours(state)
        if known is FolderContent.EMPTY and state.stat().st_mode & stat.S_ISVTX:
            raise StateDirError(f"{state} is a folder for everybody, which cannot be made private: {_OTHER}.")
        return
    above = next(folder for folder in state.parents if folder.exists())
    if any((folder / MARKER).exists() for folder in (above, *above.parents)):
        raise StateDirError(f"{state} would be inside the state directory of another device: {_OTHER}.")
    if not above.is_dir():
        raise StateDirError(f"{above} is a file, not a folder: {_OTHER}.")
    if os.statvfs(above).f_flag & os.ST_RDONLY:
        raise StateDirError(f"{above} is on a filesystem that is mounted read-only: {_OTHER}.")
    if not os.access(above, os.W_OK | os.X_OK):
        raise StateDirError(f"{state} cannot be made, for {above} is not yours to write: {_OTHER}.")


def _make(folders: list[Path]) -> None:
    """All of them or, where one cannot be made, none."""
    made: list[Path] = []
    try:
        for folder in folders:
            folder.mkdir(mode=0o700, exist_ok=True)
            made.append(folder)
            folder.chmod(0o700)  # whatever the umask took away
    except OSError:
        for folder in reversed(made):
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


def _missing(state: Path) -> list[Path]:
    """Folders that are missing, from the top down."""
    return [folder for folder in (*reversed(state.parents), state) if not folder.exists()]


def _make_private(state: Path) -> None:
    with contextlib.suppress(PermissionError):
        state.chmod(0o700)
    if state.stat().st_mode & 0o077:
        raise StateDirError(f"{state} cannot be made private: its filesystem keeps no permissions; {_OTHER}.")


def _mark(state: Path) -> None:
    partial = state / f"{MARKER}.new"
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(f"state directory of a HoloFS device, format {FORMAT}\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        partial.rename(state / MARKER)
    except FileNotFoundError:
        if not (state / MARKER).exists():  # else another program that starts at the same time has marked it
            raise
