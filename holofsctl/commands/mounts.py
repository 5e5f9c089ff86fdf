# SPDX-License-Identifier: GPL-3.0-or-later
"""mount, unmount."""

from __future__ import annotations

import argparse
import os

from holofs_api.v1 import control_pb2 as pb
from holofsctl.errors import CommandError
from holofsctl.exit_codes import Exit
from holofsctl.output import plain, safe
from holofsctl.places import mount_point
from holofsctl.session import Session


def absolute(path: str) -> str:
    """The path as the kernel names a mount there, found without looking into any mounted volume."""
    whole = mount_point(path)
    try:
        whole.encode()
    except UnicodeEncodeError:
        raise CommandError(
            f"{safe(os.fsencode(path))}: a mount path has to be UTF-8.", Exit.USAGE, "bad-argument"
        ) from None
    return whole


def mount(session: Session, arguments: argparse.Namespace) -> None:
    path = absolute(arguments.path)
    request = pb.MountRequest(
        volume=arguments.name,
        path=path,
        read_only=arguments.read_only,
        binding=arguments.binding,
        at_ms=arguments.at or 0,
    )
    info = session.call("Mount", request)
    session.output.data(plain(info), [safe(info.path)])


def unmount(session: Session, arguments: argparse.Namespace) -> None:
    path = absolute(arguments.path)
    session.call("Unmount", pb.UnmountRequest(path=path))
    session.output.data({"path": path}, [])
