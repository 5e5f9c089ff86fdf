# SPDX-License-Identifier: GPL-3.0-or-later
"""Mount points: what can be one, what is one, and taking one away. A path that may be a dead mount is not touched."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
from pathlib import Path
from typing import Final

from holofs_api.mount_access import Allow, refusal
from holofs_api.places import PathRefused, Seen, look, mount_points, refuse_inside, run_within
from holofsd.core.errors import MountFailed, MountPathUnusable

FUSE_DEVICE: Final = "/dev/fuse"
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
        seen = await asyncio.to_thread(look, path)
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
        return (await asyncio.to_thread(look, path, _PROBE_S)).error == errno.ENOTCONN
    except PathRefused:
        return False  # alive and slow, or inside another mount, which is said by who checks the path


async def unmount(path: str) -> bool:
    """Unmounts; where files are in use, detaches: the name is free at once and the files go on until closed.

    Returns whether it is all over, which it is not after detaching. Raises MountFailed where neither works.
    """
    if await unmounted(path):
        return True
    helper = _helper()
    code, remark = await _run([helper, "-u", "-z", path] if helper else ["umount", "-l", path])
    if code == 0 or mounted_at(path) is None:
        return False
    told = remark.decode("utf-8", "replace").strip().splitlines()
    raise MountFailed(f"{path} cannot be unmounted: {told[-1] if told else 'the system did not say why'}.")


async def unmounted(path: str) -> bool:
    """Unmounts unless files are in use; whether nothing is mounted there any more."""
    if mounted_at(path) is None:
        return True
    helper = _helper()
    code, _ = await _run([helper, "-u", path] if helper else ["umount", path])
    return code == 0 or mounted_at(path) is None


def _helper() -> str | None:
    return shutil.which("fusermount3") or shutil.which("fusermount")


async def _run(command: list[str]) -> tuple[int, bytes]:
    code, remark = await asyncio.to_thread(run_within, command, _HELPER_TIMEOUT_S)
    return (-1, b"it did not answer in time") if code is None else (code, remark)
