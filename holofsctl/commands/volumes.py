# SPDX-License-Identifier: GPL-3.0-or-later
"""create, list, ignored, leave, wait."""

from __future__ import annotations

import argparse
import time
from typing import Final

from holofs_api.v1 import control_pb2 as pb
from holofs_api.words import count
from holofsctl.errors import CommandError
from holofsctl.exit_codes import Exit
from holofsctl.output import plain, safe, size, table
from holofsctl.progress import Progress
from holofsctl.session import CommandSession

_MOST_IGNORED: Final = 1000


def role_name(role: pb.Role.ValueType) -> str:
    return pb.Role.Name(role).removeprefix("ROLE_").lower().replace("unspecified", "-")


def role_here(volume: pb.Volume) -> str:
    """This device's role. None of a volume that is here: it was removed, or has another key now."""
    is_none = volume.role == pb.ROLE_UNSPECIFIED and volume.state == "ready"
    return "not a member" if is_none else role_name(volume.role)


def create(session: CommandSession, arguments: argparse.Namespace) -> None:
    volume = session.call("CreateVolume", pb.CreateVolumeRequest(name=arguments.name))
    session.output.data(plain(volume), [safe(volume.name)])


def list_volumes(session: CommandSession, arguments: argparse.Namespace) -> None:
    volumes = session.call("ListVolumes", pb.ListVolumesRequest()).volumes
    rows = [(v.name, role_here(v), v.state, v.explanation) for v in volumes]
    session.output.data([plain(volume) for volume in volumes], table(rows))
    if not volumes:
        session.output.remark(
            "No volumes yet: `holofsctl create NAME` makes one, `holofsctl join -` reads a ticket and brings one."
        )


def ignored(session: CommandSession, arguments: argparse.Namespace) -> None:
    reply = session.call("ListIgnored", pb.ListIgnoredRequest(volume=arguments.name, limit=_MOST_IGNORED))
    rows = [
        (
            f"{safe(one.path)}/" if one.kind == "directory" else safe(one.path),
            "" if one.kind == "directory" else size(one.size),
            safe(one.rule) or "no line matches it any more: it will be published",
        )
        for one in reply.files
    ]
    session.output.data(plain(reply), table(rows))
    told = f"{count(reply.ignored, 'ignored file')}, {size(reply.ignored_bytes)}, on this device only."
    more = "" if reply.complete else f" More than these {_MOST_IGNORED} names are ignored."
    session.output.remark(told + more if reply.files else "Nothing is ignored.")


def leave(session: CommandSession, arguments: argparse.Namespace) -> None:
    request = pb.LeaveRequest(volume=arguments.name, delete=arguments.delete)
    reply = session.call("Leave", request)
    session.output.data(plain(reply), [safe(reply.kept_at)] if reply.kept_at else [])
    session.output.remark(f"Left {safe(arguments.name)}.")


def wait(session: CommandSession, arguments: argparse.Namespace) -> Exit:
    request = pb.WaitRequest(volume=arguments.name, copies=arguments.copies, timeout_seconds=arguments.timeout)
    began, last, told = time.monotonic(), None, ""
    with session.connect() as client, Progress("Waiting for other devices") as bar:
        for last in client.stream("Wait", request):
            if last.message and last.message != told:
                told = last.message
                bar.say(f"Waiting: {told}")
                session.output.remark(safe(told))
    if last is None or not last.done:
        copies = last.copies if last is not None else 0
        passed = f"{time.monotonic() - began:.0f} s"
        message = f"After {passed}, {count(copies, 'other device')} of {arguments.copies} said to hold everything."
        raise CommandError(message, Exit.TIMED_OUT, "timed-out")
    session.output.data(plain(last), [])
    return Exit.OK
