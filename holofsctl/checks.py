# SPDX-License-Identifier: GPL-3.0-or-later
"""`holofsctl doctor`: what could be in the way of a mount or of the daemon, each as one sentence."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from holofs_api import settings_file
from holofs_api.packages import installing
from holofs_api.paths import socket_path
from holofs_api.state_directory import FolderContent, StateDirError, require_ours, standing
from holofs_api.v1 import control_pb2 as pb
from holofsctl import fuse_binding
from holofsctl.check import Check
from holofsctl.client import Client
from holofsctl.errors import CommandError
from holofsctl.output import size
from holofsctl.running_checks import running_checks
from holofsctl.space_view import refusal_lines

_LITTLE_SPACE: Final = 1 << 30
_RESERVE: Final = 32 << 20
"""Bytes of the disk that the daemon keeps free (`holofsd.fs.settings`)."""


def run(state: Path) -> list[Check]:
    found = [*_fuse(), *_state_directory(state), *_settings(state), *_daemon(state)]
    disk = [check for check in found if check.subject == "disk"]
    # The daemon says more of a full disk, with what makes room: that stands for both.
    return [check for check in found if check.subject != "disk" or check is disk[-1]]


def _fuse() -> Iterator[Check]:
    device = "/dev/fuse"
    if not os.path.exists(device):
        yield Check(
            False,
            "fuse",
            f"{device} is missing: load the kernel module with `modprobe fuse`; a container must be given it.",
        )
    elif not os.access(device, os.R_OK | os.W_OK):
        yield Check(False, "fuse", f"{device} cannot be opened by you; your system may have a group `fuse` to join.")
    else:
        yield Check(True, "fuse", f"{device} can be opened.")
    helper = shutil.which("fusermount3") or shutil.which("fusermount")
    if helper is None:
        yield Check(False, "fuse", f"fusermount3 is missing: {installing(['fuse3'])}.")
    else:
        yield Check(True, "fuse", f"{helper} unmounts.")
    binding = fuse_binding.find()
    yield Check(bool(binding.name), "fuse", binding.explanation)


def _state_directory(state: Path) -> Iterator[Check]:
    try:
        known = standing(state)
        if known is not FolderContent.ABSENT:
            require_ours(state)
    except StateDirError as error:
        yield Check(False, "state", error.message)
        return
    if known is not FolderContent.DEVICE:
        there = "does not exist yet" if known is FolderContent.ABSENT else "is empty"
        yield Check(True, "state", f"{state} {there}; `holofsctl up` makes a device of it.")
        return
    private = not state.stat().st_mode & 0o077
    told = "only you can read it" if private else "others can read it: `chmod 700` it"
    yield Check(private, "state", f"{state}: {told}.")
    free = shutil.disk_usage(state).free
    little = "" if free > _LITTLE_SPACE else f" With less than {size(_RESERVE)} writing is refused."
    yield Check(free > _LITTLE_SPACE, "disk", f"{size(free)} free.{little}")


def _settings(state: Path) -> Iterator[Check]:
    file = settings_file.read(settings_file.path_of(state))
    for problem in file.problems:
        yield Check(False, "settings", f"{problem} `holofsctl config edit` opens the file.")
    if not file.problems:
        yield Check(True, "settings", f"{file.path} has no fault." if file.exists else "all are the defaults.")


def _daemon(state: Path) -> Iterator[Check]:
    try:
        with Client(state) as client:
            yield Check(True, "daemon", f"{client.daemon.program} answers (process {client.daemon.pid}).")
            status = client.call("Status", pb.StatusRequest())
            for sentence in status.copies:
                yield Check(False, "copy", sentence)
            if refused := refusal_lines(status):
                first, *ways = (" ".join(line.split()) for line in refused)
                yield Check(False, "disk", f"{first} {'; '.join(ways)}.".replace(" .", ""))
            yield from running_checks(status)
    except StateDirError as error:
        yield Check(False, "daemon", error.message)
    except CommandError as error:
        if error.code in ("not-running", "no-device") and not os.path.exists(socket_path(state)):
            yield Check(True, "daemon", "not running; `holofsctl up` starts it.")
        else:
            yield Check(False, "daemon", error.message)
