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
    with session.connect() as client:
        mounted = {info.path: info.volume for info in client.call("Status", pb.StatusRequest()).mounts}
        path = os.path.abspath(arguments.path)
        if path not in mounted:
            path = absolute(path)
        if path not in mounted and arguments.path in mounted.values():
            _refuse_volume(arguments.path, mounted)
        os.chdir("/")  # this command may have been called from inside of the mount, and is no user of it
        reply = client.call("Unmount", pb.UnmountRequest(path=path, force=arguments.force))
    session.output.data({"path": path, "detached": reply.detached}, [])
    if reply.detached:
        session.output.remark(
            f"{safe(path)} is detached: the folder is free. Programs that have files open there go on with them, and"
            " what they write is kept, until they close them."
        )


def _refuse_volume(name: str, mounted: dict[str, str]) -> None:
    paths = " and ".join(safe(path) for path, volume in mounted.items() if volume == name)
    sentence = f"`unmount` takes a folder, and {safe(name)} is a volume: it is mounted at {paths}."
    raise CommandError(sentence, Exit.USAGE, "bad-argument")
