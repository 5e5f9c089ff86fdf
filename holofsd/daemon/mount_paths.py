# SPDX-License-Identifier: GPL-3.0-or-later
"""Mount points: what can be one, what is one, and taking one away. A path that may be a dead mount is not touched."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from holofs_api.mount_access import Allow, refusal
from holofs_api.places import PathRefused, Seen, look, mount_points, refuse_inside, run_within
from holofsd.core.errors import MountFailed, MountPathUnusable
from holofsd.store.threads import Pool, in_thread

FUSE_DEVICE: Final = "/dev/fuse"
MTAB: Final = "/etc/mtab"
_MAKE_MTAB: Final = f"sudo ln -s ../proc/self/mounts {MTAB}"
_HELPER_TIMEOUT_S: Final = 20.0
_PROBE_S: Final = 2.0


def mounted_at(path: str) -> str | None:
    """The filesystem type of what is mounted exactly there (for example "fuse.holofs"), or None."""
    mounts = mount_points()
    if mounts is None:
        return "unknown" if os.path.ismount(path) else None
    return mounts[path].kind if path in mounts else None


async def check_mount_path(path: str, state: Path) -> None:
    """Raises MountPathUnusable or MountFailed, with one sentence."""
    if not os.path.isabs(path):
        raise MountPathUnusable(f"{path} is not an absolute path.")
    seen = await _look(path)
    if Path(seen.real).is_relative_to(state) or Path(path).is_relative_to(state):
        raise MountPathUnusable(f"{path} is inside the state directory; choose a folder outside of it.")
    if not seen.is_writable:
        raise MountPathUnusable(f"{path} is not yours to write, so nothing can be mounted there.")
    if not os.path.exists(FUSE_DEVICE):
        raise MountFailed(f"{FUSE_DEVICE} is missing: install FUSE, or load its module with `modprobe fuse`.")


def check_access(allow: Allow) -> None:
    """Raises MountFailed where this user may not open a mount to others."""
    if sentence := refusal(allow):
        raise MountFailed(sentence)


async def _look(path: str) -> Seen:
    """Facts about an empty directory. Raises MountPathUnusable for anything else."""
    try:
        refuse_inside(path)
        if mounted_at(path) is not None:
            raise MountPathUnusable(
                f"Something is already mounted at {path}; unmount it first, or choose another folder."
            )
        seen = await in_thread(Pool.FOREGROUND, look, path)
    except PathRefused as refused:
        raise MountPathUnusable(str(refused)) from None
    if seen.error == errno.ENOENT:
        raise MountPathUnusable(f"{path} does not exist; make it with `mkdir` first.")
    if seen.error == errno.ENOTDIR or not (seen.error or seen.is_directory):
        raise MountPathUnusable(f"{path} is not a directory.")
    if seen.error:
        raise MountPathUnusable(f"{path} cannot be read: {os.strerror(seen.error)}.")
    if not seen.is_empty:
        raise MountPathUnusable(f"{path} is not empty; mounting there would hide what it holds.")
    return seen


async def is_dead(path: str) -> bool:
    """Whether a mount is there that answers every call with ENOTCONN, because its process was killed."""
    kind = mounted_at(path)
    if kind is None or not kind.startswith("fuse"):
        return False
    try:
        return (await in_thread(Pool.FOREGROUND, look, path, _PROBE_S)).error == errno.ENOTCONN
    except PathRefused:
        return False  # alive and slow, or inside another mount, which is said by who checks the path


async def unmount(path: str) -> bool:
    """Unmounts; where files are in use, detaches: the name is free at once and the files go on until closed.

    Returns whether it is all over, which it is not after detaching. Raises MountFailed where neither works.
    """
    with suppress(MountFailed):
        if await unmounted(path):
            return True
    if told := await _take_away(path, ("-u", "-z"), ("-l",)):
        raise _failed(path, told)
    return False


async def unmounted(path: str) -> bool:
    """Unmounts unless files are in use; whether nothing is mounted there any more. Raises MountFailed where something
    else is in the way."""
    if mounted_at(path) is None:
        return True
    told = await _take_away(path, ("-u",), ())
    if told and not _is_busy(told):
        raise _failed(path, told)
    return not told


async def _take_away(path: str, of_helper: Sequence[str], of_umount: Sequence[str]) -> str:
    """Runs FUSE's own program with these options, or umount(8) with those. Empty where nothing is mounted there any
    more; else the last line of what the program said."""
    helper = shutil.which("fusermount3") or shutil.which("fusermount")
    commands = [[helper, *of_helper, path]] if helper else []
    if not helper or os.geteuid() == 0:  # root needs no helper; and umount needs no /etc/mtab, which the helper reads
        commands.append(["env", "LC_ALL=C", "umount", *of_umount, path])
    told = ""
    for command in commands:
        code, remark = await _run(command)
        if code == 0 or mounted_at(path) is None:
            return ""
        lines = remark.decode("utf-8", "replace").strip().splitlines()
        told = lines[-1].rstrip(".") if lines else "the system did not say why"
        if any(_is_busy(line) for line in lines):
            return "the folder is busy"
    return told


def _is_busy(told: str) -> bool:
    return "busy" in told.lower()


def _failed(path: str, told: str) -> MountFailed:
    remedy = f" `{_MAKE_MTAB}` makes {MTAB} again; then try again." if not os.path.exists(MTAB) else ""
    return MountFailed(f"{path} cannot be unmounted: {told}.{remedy}")


async def _run(command: list[str]) -> tuple[int, bytes]:
    code, remark = await in_thread(Pool.FOREGROUND, run_within, command, _HELPER_TIMEOUT_S)
    return (-1, b"it did not answer in time") if code is None else (code, remark)
