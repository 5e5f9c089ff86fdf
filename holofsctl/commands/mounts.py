# SPDX-License-Identifier: GPL-3.0-or-later
"""mount, unmount."""

from __future__ import annotations

import argparse
import os

from holofs_api.mount_access import Allow
from holofs_api.places import walk
from holofs_api.v1 import control_pb2 as pb
from holofsctl import fuse_binding
from holofsctl.client import Client
from holofsctl.errors import CommandError
from holofsctl.exit_codes import Exit
from holofsctl.output import plain, safe
from holofsctl.places import mount_point
from holofsctl.session import CommandSession


def absolute(path: str) -> str:
    """The path as the kernel names a mount there, found without looking into any mounted volume."""
    return _utf8(mount_point(path))


def _utf8(path: str) -> str:
    try:
        path.encode()
    except UnicodeEncodeError:
        raise CommandError(f"{safe(path)}: a mount path has to be UTF-8.", Exit.USAGE, "bad-argument") from None
    return path


def mount(session: CommandSession, arguments: argparse.Namespace) -> None:
    path = absolute(arguments.path)
    request = pb.MountRequest(
        volume=arguments.name,
        path=path,
        read_only=arguments.read_only,
        binding=arguments.binding,
        at_ms=arguments.at or 0,
        allow=Allow.OTHER if arguments.allow_other else Allow.ROOT if arguments.allow_root else Allow.OWNER,
    )
    with session.connect() as client:
        info = mounted(client, request)
    session.output.data(plain(info), [safe(info.path)])
    if info.binding == fuse_binding.FALLBACK and not arguments.binding:
        session.output.remark(fuse_binding.find().explanation)


def mounted(client: Client, request: pb.MountRequest) -> pb.MountInfo:
    """Mounts. Raises CommandError, and leaves nothing mounted, where an earlier daemon passes over an option."""
    info: pb.MountInfo = client.call("Mount", request)
    if (info.allow, info.no_exec) == (request.allow, request.no_exec):
        return info
    client.call("Unmount", pb.UnmountRequest(path=request.path, force=True))
    sentence = (
        "The daemon is of an earlier program, which does not know all of these options: restart it with"
        " `holofsctl down` and `holofsctl up`, then mount again."
    )
    raise CommandError(sentence, code="version-mismatch")


def unmount(session: CommandSession, arguments: argparse.Namespace) -> None:
    with session.connect() as client:
        mounted = {info.path: info.volume for info in client.call("Status", pb.StatusRequest()).mounts}
        path = _meant(arguments.path, mounted)
        os.chdir("/")  # this command may have been called from inside of the mount, and is no user of it
        reply = client.call("Unmount", pb.UnmountRequest(path=path, force=arguments.force))
    session.output.data({"path": path, "detached": reply.detached}, [])
    if reply.detached:
        session.output.remark(
            f"{safe(path)} is detached: the folder is free. Programs that have files open there go on with them, and"
            " what they write is kept, until they close them."
        )


def _meant(told: str, mounted: dict[str, str]) -> str:
    """The path as it was given, or where it leads to by symlinks. No mount is looked at, and nothing waits."""
    path = os.path.abspath(told)
    if path not in mounted:
        path = walk(path).real
    if path not in mounted and told in mounted.values():
        paths = " and ".join(safe(path) for path, volume in mounted.items() if volume == told)
        sentence = f"`unmount` takes a folder, and {safe(told)} is a volume: it is mounted at {paths}."
        raise CommandError(sentence, Exit.USAGE, "bad-argument")
    return _utf8(path)
