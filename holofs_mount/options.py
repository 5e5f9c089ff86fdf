# SPDX-License-Identifier: GPL-3.0-or-later
"""Command line of `holofs-mount`, and checks of the place to mount on."""

from __future__ import annotations

import argparse
import errno
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from holofs_api import VERSION
from holofs_api.mount_access import Allow, refusal
from holofs_api.places import PathRefused, look, mount_points, run_within
from holofs_api.setting_kinds import Value
from holofs_api.settings import MOUNT_KEYS, add_options, options_told

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_PATH: Final = 3
EXIT_FUSE: Final = 4
EXIT_DAEMON: Final = 5
EXIT_VOLUME: Final = 6
_HELPER_SECONDS: Final = 20.0

_EPILOG: Final = """\
Exit codes: 0 unmounted cleanly, 1 the mount failed, 2 wrong usage, 3 the path cannot be mounted on,
4 FUSE is not there, 5 no daemon answers, 6 the daemon refuses (for example an unknown volume)"""


class MountError(Exception):
    """Failure of the mount: a sentence for standard error, and the exit code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Options:
    volume: str
    path: Path
    state_dir: str | None
    read_only: bool
    mount_id: str | None
    ready_fd: int | None
    go_fd: int | None
    over_dead: bool
    allow: Allow
    no_exec: bool
    settings: Mapping[str, Value]
    """Settings that stand on the command line, by key."""

    @property
    def of_kernel(self) -> frozenset[str]:
        """Options of FUSE beyond those that every mount has."""
        named = {"ro": self.read_only, "noexec": self.no_exec, self.allow.option: self.allow is not Allow.OWNER}
        return frozenset(name for name, is_set in named.items() if is_set)


def build() -> argparse.ArgumentParser:
    """The parser of `holofs-mount`."""
    parser = argparse.ArgumentParser(
        prog="holofs-mount",
        description="Mount a volume of the running daemon on an empty directory, in the foreground.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("volume", help="its name on this device, or its id")
    parser.add_argument("path", help="an empty directory")
    parser.add_argument("--state-dir", help="which device (default: $HOLOFS_STATE_DIR, else the user's own)")
    parser.add_argument("--read-only", action="store_true", help="answer every attempt to write with EROFS")
    others = parser.add_mutually_exclusive_group()
    others.add_argument("--allow-other", action="store_true", help="let other users in, as far as file modes let them")
    others.add_argument("--allow-root", action="store_true", help="let root in, and no other user")
    parser.add_argument("--no-exec", action="store_true", help="let no program there be run")
    add_options(parser, MOUNT_KEYS)
    parser.add_argument("--mount-id", help="stable name of this mount, given by a supervisor")
    parser.add_argument(
        "--ready-fd",
        type=int,
        metavar="N",
        help='write the line "ready BINDING" there once the mount answers, or "error SENTENCE"',
    )
    parser.add_argument(
        "--go-fd", type=int, metavar="N", help="be ready to mount, then wait for a line from there; its end ends this"
    )
    parser.add_argument(
        "--over-dead",
        action="store_true",
        help="take the place of a mount whose program is gone, at the last moment: nobody sees an empty folder",
    )
    parser.add_argument("--version", action="version", version=f"holofs-mount {VERSION}")
    return parser


def parse(arguments: list[str]) -> Options:
    """Exits with 2 and a usage line on wrong usage, as argparse does."""
    parsed = build().parse_args(arguments)
    return Options(
        volume=parsed.volume,
        path=Path(parsed.path),
        state_dir=parsed.state_dir,
        read_only=parsed.read_only,
        mount_id=parsed.mount_id,
        ready_fd=parsed.ready_fd,
        go_fd=parsed.go_fd,
        over_dead=parsed.over_dead,
        allow=Allow.OTHER if parsed.allow_other else Allow.ROOT if parsed.allow_root else Allow.OWNER,
        no_exec=parsed.no_exec,
        settings=options_told(parsed),
    )


def check_mountpoint(path: Path) -> Path:
    """The absolute path to mount on; MountError with a sentence where it cannot be. Never waits for long."""
    try:
        seen = look(os.path.abspath(path))
    except PathRefused as refused:
        raise MountError(str(refused), EXIT_PATH) from None
    if seen.error == errno.ENOENT:
        raise MountError(f"{path} does not exist: make the directory first.", EXIT_PATH)
    if seen.error == errno.ENOTDIR or not (seen.error or seen.is_directory):
        raise MountError(f"{path} is not a directory.", EXIT_PATH)
    if seen.error:
        raise MountError(_why(path, seen.error), EXIT_PATH)
    absolute = Path(seen.real)
    if is_mounted(absolute):
        raise MountError(f"Something is already mounted on {path}: unmount it first.", EXIT_PATH)
    if not seen.is_empty:
        raise MountError(f"{path} is not empty: mount on an empty directory.", EXIT_PATH)
    return absolute


def take_away_dead(path: Path, program: str) -> None:
    """Unmounts a dead mount, as the caller knows it is, and checks the place again."""
    for flags in (["-u"], ["-u", "-z"]):
        if is_mounted(path):
            run_within([program, *flags, "--", os.fspath(path)], _HELPER_SECONDS)
    check_mountpoint(path)


def _why(path: Path, error: int) -> str:
    if error in (errno.ENOTCONN, errno.ECONNABORTED, errno.EIO):
        return f"{path} is a mount whose program is gone: run `fusermount3 -u -z {path}`, then mount again."
    return f"{path} cannot be mounted on: {os.strerror(error)}."


def is_mounted(path: Path) -> bool:
    """Return whether something is mounted there, by the kernel's list: st_dev misses bind mounts of one filesystem."""
    points = mount_points()
    return os.path.ismount(path) if points is None else os.fspath(path) in points


def check_access(allow: Allow) -> None:
    """MountError where this user may not open a mount to others."""
    if sentence := refusal(allow):
        raise MountError(sentence, EXIT_FUSE)


def check_fuse(device: str = "/dev/fuse") -> None:
    """MountError where this machine cannot mount FUSE filesystems."""
    if not os.path.exists(device):
        sentence = f"{device} is missing: load the kernel module with `modprobe fuse`; a container must be given it."
        raise MountError(sentence, EXIT_FUSE)
    try:
        os.close(os.open(device, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        sentence = f"{device} cannot be opened by you ({error.strerror}): check its permissions."
        raise MountError(sentence, EXIT_FUSE) from None
