# SPDX-License-Identifier: GPL-3.0-or-later
"""Command `version`: what this program, the daemon and the mounts are, and whether they can work together."""

from __future__ import annotations

import argparse
import platform
from collections.abc import Iterator, Sequence
from typing import Any

from holofs_api import API_VERSION, VERSION
from holofs_api.v1 import control_pb2 as pb
from holofsctl import fuse_binding
from holofsctl.errors import CommandError
from holofsctl.exit_codes import Exit
from holofsctl.output import safe, table
from holofsctl.session import CommandSession

_UNKNOWN = "does not say"


def version(session: CommandSession, arguments: argparse.Namespace) -> None:
    """Prints what is known first, and then fails where something does not fit or does not answer."""
    daemon: pb.HandshakeReply | None = None
    mounts: Sequence[pb.MountInfo] = ()
    failure: CommandError | None = None
    binding = fuse_binding.find()
    try:
        with session.connect() as client:
            daemon = client.daemon
            mounts = client.call("Status", pb.StatusRequest()).mounts
    except CommandError as error:
        if error.exit_code != Exit.NOT_RUNNING:
            failure = error
    rows = [("holofsctl", VERSION), ("Python", platform.python_version())]
    rows.append(("FUSE binding", f"{binding.name} {binding.version}" if binding.name else "none"))
    if daemon is not None:
        rows.append(("holofsd", _number_of(daemon.program)))
    elif failure is None:
        rows.append(("holofsd", "does not run"))
    rows += [(safe(mount.path), _of_mount(mount)) for mount in mounts]
    session.output.data(_plain(daemon, mounts, binding), table(rows))
    if binding.name in ("", fuse_binding.FALLBACK):
        session.output.remark(binding.explanation)
    if failure is not None:
        raise failure
    if misfit := next(misfits(mounts), ""):
        raise CommandError(misfit, Exit.FAILED, "version-mismatch")
    if daemon is not None and any(map(_differs, [daemon.program, *(mount.program for mount in mounts)])):
        session.output.remark(
            "Not all of them have the version of this program. They work together; `holofsctl down` and `holofsctl up`"
            " start this version."
        )


def _number_of(program: str) -> str:
    """Version in what a program calls itself, like `holofsd 0.1.0`."""
    return safe(program.rpartition(" ")[2]) or _UNKNOWN


def _of_mount(mount: pb.MountInfo) -> str:
    told = f"{_number_of(mount.program)} (mount of {safe(mount.volume)})"
    return told if mount.state == "up" else f"{told}, {safe(mount.state)}"


def misfits(mounts: Sequence[pb.MountInfo]) -> Iterator[str]:
    """Sentences about mounts that the daemon has to refuse."""
    for mount in mounts:
        if mount.api_version not in (0, API_VERSION):
            yield (
                f"The mount {safe(mount.path)} is of {safe(mount.program)}, which speaks version {mount.api_version} of"
                f" the HoloFS API and holofsd version {API_VERSION}: close what uses it, then run `holofsctl down` and"
                " `holofsctl up`."
            )


def _differs(program: str) -> bool:
    return bool(program) and _number_of(program) != VERSION


def _plain(
    daemon: pb.HandshakeReply | None, mounts: Sequence[pb.MountInfo], binding: fuse_binding.FuseBinding
) -> dict[str, Any]:
    fields = ("program", "api_version", "pid", "device_id")
    of_mount = ("path", "volume", "state", "program", "api_version", "pid")
    return {
        "version": VERSION,
        "python": platform.python_version(),
        "api_version": API_VERSION,
        "binding": {"name": binding.name, "version": binding.version, "explanation": binding.explanation},
        "daemon": None if daemon is None else {name: getattr(daemon, name) for name in fields},
        "mounts": [{name: getattr(mount, name) for name in of_mount} for mount in mounts],
    }
