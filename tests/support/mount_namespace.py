# SPDX-License-Identifier: GPL-3.0-or-later
"""Mounts that the rest of the machine does not see, with system files of their own: for tests of mount(8). Needs root.

    with MountNamespace(world.root, fuse_conf="", fstab="") as system:
        subprocess.run([*system.prefix, "mount", "-a"])

In it /sbin has one program, `mount.fuse.holofs`; /etc/fuse.conf and /etc/fstab are files of the test; /dev/fuse may be
opened by every user, and so may this Python, wherever it is. It ends, with all its mounts, with its last process.
"""

from __future__ import annotations

import os
import pwd
import shlex
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from support.device import BIN
from support.sources import ROOT

HELPER = "mount.fuse.holofs"


class MountNamespace:
    def __init__(self, folder: Path, *, fuse_conf: str, fstab: str) -> None:
        self._folder = folder / "system"
        self._folder.mkdir()
        self.fuse_conf = self._file("fuse.conf", fuse_conf)
        self.fstab = self._file("fstab", fstab)
        script = "\n".join(["set -e", *self._commands(), "echo ready", "exec cat"])
        self._holder = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == b"ready\n", "a mount namespace cannot be made here"
        self.prefix = ["nsenter", f"--mount=/proc/{self._holder.pid}/ns/mnt", "--"]

    def _file(self, name: str, text: str) -> Path:
        path = self._folder / name
        path.write_text(text)
        path.chmod(0o644)
        return path

    def _commands(self) -> Iterator[str]:
        for path, place in ((self.fuse_conf, "/etc/fuse.conf"), (self.fstab, "/etc/fstab")):
            yield f"mount --bind {shlex.quote(str(path))} {place}"
        sbin = os.path.realpath("/sbin")
        yield f"mount -t tmpfs -o mode=755 none {sbin}"
        yield f"ln -s {shlex.quote(str(BIN / HELPER))} {sbin}/{HELPER}"
        devices = self._folder / "devices"
        devices.mkdir()
        yield f"mount -t tmpfs none {devices}"
        yield f"mknod -m 666 {devices}/fuse c 10 229"
        yield f"mount --bind {devices}/fuse /dev/fuse"
        yield from self._opened()

    def _opened(self) -> Iterator[str]:
        """Commands that let every user reach the programs: folders above them that are shut are replaced."""
        needed = {Path(sys.base_prefix).resolve(), Path(sys.prefix).resolve(), ROOT.resolve()}
        for number, path in enumerate(sorted(needed)):
            shut = next((above for above in reversed(path.parents) if not above.stat().st_mode & stat.S_IXOTH), None)
            if shut is not None:
                staged = self._folder / f"staged-{number}"
                staged.mkdir()
                yield f"mount --bind {shlex.quote(str(path))} {staged}"
                yield f"mount -t tmpfs -o mode=755 none {shlex.quote(str(shut))}"
                yield f"mkdir -p {shlex.quote(str(path))}"
                yield f"mount --bind {staged} {shlex.quote(str(path))}"

    def as_user(self, name: str | int) -> list[str]:
        """Beginning of a command that another user runs in here."""
        user, group = (name, name) if isinstance(name, int) else pwd.getpwnam(name)[2:4]
        return [*self.prefix, "setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups", "--"]

    def options_at(self, path: Path) -> set[str]:
        """Options of what is mounted there, as the kernel lists them; empty: nothing is."""
        lines = [line.split() for line in Path(f"/proc/{self._holder.pid}/mounts").read_text().splitlines()]
        return next((set(fields[3].split(",")) for fields in lines if fields[1] == str(path)), set())

    def close(self) -> None:
        assert self._holder.stdin is not None
        assert self._holder.stdout is not None
        self._holder.stdin.close()
        self._holder.wait(45)
        self._holder.stdout.close()

    def __enter__(self) -> MountNamespace:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
