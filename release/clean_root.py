# SPDX-License-Identifier: GPL-3.0-or-later
"""A Debian with nothing but what is essential, made by mmdebstrap from the sources that this machine's apt has, and
copies of it (overlays) that programs run in.

Mounts and processes are for a mount and a process namespace of the caller's own: they vanish with them.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_DEVICES: Final = {
    "null": (1, 3),
    "zero": (1, 5),
    "full": (1, 7),
    "random": (1, 8),
    "urandom": (1, 9),
    "fuse": (10, 229),
}
_USER: Final = "somebody"
_ENVIRONMENT: Final = {"LANG": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def bootstrap(into: Path) -> None:
    """Makes the root that the others are copies of."""
    codename = platform.freedesktop_os_release()["VERSION_CODENAME"]
    files = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))]
    suite = re.compile(rf"(?<!\S){re.escape(codename)}(?!\S)")
    sources = [str(path) for path in files if path.is_file() and suite.search(path.read_text())]
    _run(["mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", codename, str(into), *sources])


@dataclass(frozen=True, slots=True)
class CleanRoot:
    """A copy of the root, with a user, `/dev/fuse` and the folders to install from."""

    path: Path
    variables: dict[str, str]
    """Environment of the user's programs."""

    @classmethod
    def copy(cls, base: Path, folder: Path, shared: dict[str, Path], variables: dict[str, str]) -> CleanRoot:
        """`shared`: folders of this machine, by their names in the root; they cannot be written to there."""
        root, upper, work = (folder / name for name in ("root", "upper", "work"))
        for each in (root, upper, work):
            each.mkdir(parents=True)
        _run(["mount", "-t", "overlay", "-o", f"lowerdir={base},upperdir={upper},workdir={work}", "overlay", str(root)])
        _run(["mount", "-t", "proc", "proc", str(root / "proc")])
        _make_devices(root / "dev")
        for name, source in shared.items():
            (root / name).mkdir()
            _run(["mount", "--bind", "-o", "ro", str(source), str(root / name)])
        # Every system that was started has it, and fusermount3 unmounts nothing for a user without it.
        (root / "etc" / "mtab").symlink_to("../proc/self/mounts")
        for name in ("resolv.conf", "hosts"):  # apt asks for names
            (root / "etc" / name).unlink(missing_ok=True)
            shutil.copyfile(Path("/etc", name), root / "etc" / name)
        made = cls(root, {**variables, "HOME": f"/home/{_USER}", "USER": _USER})
        made.as_root("apt-get update -q && useradd --create-home --shell /bin/bash " + _USER)
        return made

    def as_root(self, script: str) -> str:
        """Standard output of a script that has to go well."""
        return self._bash(script, {"HOME": "/", "PATH": _PATH}, []).stdout

    def as_user(self, script: str, *arguments: str) -> str:
        done = self.tried(script, *arguments)
        if done.returncode:
            raise SystemExit(f"In a clean root this failed:\n{script}\n{done.stdout}{done.stderr}")
        return done.stdout + done.stderr

    def tried(self, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A script of the user that may fail."""
        who = ["--userspec", f"{_USER}:{_USER}"]
        return self._chroot(script, {"PATH": f"/home/{_USER}/.local/bin:{_PATH}", **self.variables}, who, arguments)

    def _bash(self, script: str, variables: dict[str, str], options: Sequence[str]) -> subprocess.CompletedProcess[str]:
        done = self._chroot(script, variables, options, ())
        if done.returncode:
            raise SystemExit(f"In a clean root this failed:\n{script}\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
        return done

    def _chroot(
        self, script: str, variables: dict[str, str], options: Sequence[str], arguments: Sequence[str]
    ) -> subprocess.CompletedProcess[str]:
        words = [f"{name}={value}" for name, value in {**_ENVIRONMENT, **variables}.items()]
        inside = ["env", "-i", "-C", variables["HOME"], *words, "bash", "-euo", "pipefail", "-c", script, "bash"]
        command = ["chroot", *options, str(self.path), *inside, *arguments]
        return subprocess.run(command, stdin=subprocess.DEVNULL, text=True, capture_output=True, check=False)


def _make_devices(folder: Path) -> None:
    _run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", str(folder)])
    for name, (major, minor) in _DEVICES.items():
        os.mknod(folder / name, stat.S_IFCHR, os.makedev(major, minor))
        (folder / name).chmod(0o666)
    (folder / "fd").symlink_to("/proc/self/fd")
    (folder / "shm").mkdir()
    (folder / "shm").chmod(0o1777)


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, text=True, capture_output=True, check=False)
    if done.returncode:
        sys.stderr.write(done.stderr[-3000:])
        raise SystemExit(f"`{' '.join(command[:3])}` failed; see above.")
