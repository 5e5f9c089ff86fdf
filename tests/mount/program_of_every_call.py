# SPDX-License-Identifier: GPL-3.0-or-later
"""A program that makes every filesystem call on files in every state, while the daemon does not answer.

    program_of_every_call.py MOUNTPOINT

Says `ready` once everything is prepared. At a line on standard input it makes what is to be new and says `made`. At the
next line it makes the calls, each in a thread of its own and in a folder of its own. Prints, as JSON, how each ended:
{"call state": [seconds, errno (0: none, null: it still waits), whether the file got into its state]}.
"""

from __future__ import annotations

import errno
import json
import mmap
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

LIMIT_S = 40.0
"""After that the threads that still wait are left."""
SETTLED_S = 1.5
"""After that what was changed is known by what the daemon said, not by guess."""
SMALL, LARGE = b"s" * 1_000, b"l" * 1_000_000
STATES = ("new", "known", "staged", "journalled")
"""Made while the daemon does not answer; open and known to it; open with a staging file; closed and in the journal."""


class Case:
    """One call on one file."""

    def __init__(self, root: Path, state: str, call: str) -> None:
        self.name = f"{call} {state}"
        self.state = state
        self.folder = root / self.name
        self.file = self.folder / "file"
        self.call = CALLS[call]
        self.fd = -1
        self.seconds = 0.0
        self.outcome: int | None = None
        self.is_made = True

    def prepare(self) -> None:
        self.folder.mkdir()
        (self.folder / "other").write_bytes(SMALL)
        os.setxattr(self.folder / "other", "user.old", b"1")
        os.symlink("other", self.folder / "link")
        (self.folder / "empty").mkdir()
        if self.state in ("known", "staged"):
            self.fd = os.open(self.file, os.O_RDWR | os.O_CREAT)
            os.write(self.fd, SMALL if self.state == "known" else LARGE)
            os.fsync(self.fd)

    def look(self) -> None:
        """The mount and the kernel know the folder: a new name in it is free for sure."""
        os.listdir(self.folder)
        os.stat(self.folder)

    def arrive(self) -> None:
        try:
            if self.state == "new":
                self.fd = os.open(self.file, os.O_RDWR | os.O_CREAT)
            elif self.state == "journalled":
                self.file.write_bytes(SMALL)
        except OSError:
            self.is_made = False  # then the call is made on what is not there

    def run(self) -> None:
        began = time.monotonic()
        outcome = 0
        try:
            self.call(self)
        except OSError as error:
            outcome = error.errno or -1
        except ValueError:  # Python's own look at a descriptor
            outcome = errno.EBADF
        self.seconds = time.monotonic() - began
        self.outcome = outcome


def _mapped(case: Case) -> None:
    os.ftruncate(case.fd, 4096)
    with mmap.mmap(case.fd, 4096) as mapping:
        mapping[:5] = b"mmap!"
        mapping.flush()


def _opened(case: Case, name: str, flags: int) -> None:
    os.close(os.open(case.folder / name, flags, 0o600))


CALLS: dict[str, Callable[[Case], object]] = {
    "open": lambda c: _opened(c, "file", os.O_RDONLY),
    "open-to-write": lambda c: _opened(c, "file", os.O_RDWR),
    "open-and-empty": lambda c: _opened(c, "other", os.O_WRONLY | os.O_TRUNC),
    "create": lambda c: _opened(c, "created", os.O_CREAT | os.O_WRONLY),
    "create-exclusive": lambda c: _opened(c, "created", os.O_CREAT | os.O_EXCL | os.O_RDWR),
    "read": lambda c: os.pread(c.fd, 100, 0),
    "write-small": lambda c: os.pwrite(c.fd, SMALL, 0),
    "write-large": lambda c: os.pwrite(c.fd, LARGE, 0),
    "write-mapped": _mapped,
    "ftruncate-small": lambda c: os.ftruncate(c.fd, 10),
    "ftruncate-large": lambda c: os.ftruncate(c.fd, 10_000_000),
    "truncate": lambda c: os.truncate(c.file, 5),
    "fsync": lambda c: os.fsync(c.fd),
    "close": lambda c: os.close(c.fd),
    "write-and-close": lambda c: (os.pwrite(c.fd, SMALL, 0), os.close(c.fd)),
    "fstat": lambda c: os.fstat(c.fd),
    "fchmod": lambda c: os.fchmod(c.fd, 0o640),
    "futimens": lambda c: os.utime(c.fd, (5, 5)),
    "stat": lambda c: os.stat(c.file),
    "lookup": lambda c: os.stat(c.folder / "nothing"),
    "chmod": lambda c: os.chmod(c.file, 0o600),
    "utime": lambda c: os.utime(c.file, (5, 5)),
    "access": lambda c: os.access(c.file, os.W_OK),
    "rename": lambda c: os.rename(c.file, c.folder / "renamed"),
    "rename-over": lambda c: os.rename(c.folder / "other", c.file),
    "unlink": lambda c: os.unlink(c.file),
    "link": lambda c: os.link(c.file, c.folder / "linked"),
    "symlink": lambda c: os.symlink("file", c.folder / "new link"),
    "readlink": lambda c: os.readlink(c.folder / "link"),
    "mkdir": lambda c: os.mkdir(c.folder / "directory"),
    "rmdir": lambda c: os.rmdir(c.folder / "empty"),
    "readdir": lambda c: os.listdir(c.folder / "empty"),
    "statfs": lambda c: os.statvfs(c.folder),
    "setxattr": lambda c: os.setxattr(c.file, "user.new", b"1"),
    "getxattr": lambda c: os.getxattr(c.file, "user.new"),
    "listxattr": lambda c: os.listxattr(c.folder / "other"),
    "removexattr": lambda c: os.removexattr(c.folder / "other", "user.old"),
}


def settle(cases: list[Case]) -> None:
    """Wait until the mount knows what is there by what the daemon said."""
    settled_at = time.monotonic() + SETTLED_S
    while True:
        began = time.monotonic()
        for case in cases:
            case.look()
        if began > settled_at:
            return


def in_parallel(work: list[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=one, daemon=True) for one in work]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + LIMIT_S
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))


def main(root: Path) -> None:
    cases = [Case(root, state, call) for state in STATES for call in CALLS]
    for case in cases:
        case.prepare()
    settle(cases)
    print("ready", flush=True)
    sys.stdin.readline()
    # One after the other: a file that stays open for long is told of, and to close it one has to wait.
    for state in ("journalled", "new"):
        for case in cases:
            if case.state == state:
                case.arrive()
    print("made", flush=True)
    sys.stdin.readline()
    in_parallel([case.run for case in cases])
    print(json.dumps({case.name: [case.seconds, case.outcome, case.is_made] for case in cases}), flush=True)
    os._exit(0)  # what still waits does so in the kernel


if __name__ == "__main__":
    main(Path(sys.argv[1]))
