# SPDX-License-Identifier: GPL-3.0-or-later
"""fsck: by the daemon where one runs, else by a program of its own on the closed state directory."""

from __future__ import annotations

import argparse
from typing import Final

from google.protobuf.message import DecodeError

from holofs_api.shell import shell_word
from holofs_api.v1 import control_pb2 as pb
from holofs_api.words import count
from holofsctl.closed import run_closed
from holofsctl.errors import CommandError
from holofsctl.exit_codes import Exit
from holofsctl.output import moment, plain, safe, table_rows
from holofsctl.progress import Progress
from holofsctl.session import CommandSession

_TIMEOUT_S: Final = 24 * 3600.0


def fsck(session: CommandSession, arguments: argparse.Namespace) -> Exit:
    if arguments.from_backup and not arguments.name:
        raise CommandError("Say which volume is to be taken from its backup.", Exit.USAGE, "bad-argument")
    request = pb.FsckRequest(
        volume=arguments.name,
        repair=arguments.repair,
        from_backup=arguments.from_backup,
        content=arguments.content,
    )
    reply = _answer(session, request)
    lines = [line for volume in reply.volumes for line in _lines(volume)]
    if reply.HasField("device"):
        lines += _lines(reply.device)
    session.output.data(plain(reply), lines)
    if fixable := _fixable(*reply.volumes):
        words = " ".join(["holofsctl fsck", *([shell_word(arguments.name)] if arguments.name else []), "--repair"])
        session.output.remark(f"`{words}` repairs {count(fixable, 'of these', 'of these')}.")
    if fixable := _fixable(reply.device):
        found = count(fixable, "thing", "things")
        session.output.remark(f"`holofsctl down`, then `holofsctl fsck --repair` repairs {found} of this device.")
    return Exit.FAILED if reply.device.left or any(volume.left for volume in reply.volumes) else Exit.OK


def _fixable(*checked: pb.FsckVolume) -> int:
    return sum(f.count for one in checked for f in one.findings if f.outcome == "fixable")


def _answer(session: CommandSession, request: pb.FsckRequest) -> pb.FsckReply:
    try:
        with session.connect() as client:
            reply: pb.FsckReply = client.call("Fsck", request, _TIMEOUT_S)
            return reply
    except CommandError as error:
        if error.code == "no-device":  # a daemon would not help
            raise CommandError(error.message, Exit.FAILED, error.code) from None
        if error.code != "not-running":
            raise
    return _without_daemon(session, request)


def _without_daemon(session: CommandSession, request: pb.FsckRequest) -> pb.FsckReply:
    orders = [f"--{name.replace('_', '-')}" for name in ("repair", "from_backup", "content") if getattr(request, name)]
    names = [request.volume] if request.volume else []
    busy = "holofsd is just starting or ending: try again in a moment."
    with Progress("Checking"):
        done = run_closed(session, "holofsd.daemon.fsck_main", [*orders, "--", *names], busy)
    try:
        return pb.FsckReply.FromString(done)
    except DecodeError:
        raise CommandError("The check gave an answer that cannot be read.") from None


def _single(things: str) -> str:
    """`content file` of `content files`, `entry` of `entries`, `alias` of `aliases`."""
    if things.endswith("ies"):
        return things.removesuffix("ies") + "y"
    return things.removesuffix("es" if things.endswith("ases") else "s")


def _lines(volume: pb.FsckVolume) -> list[str]:
    checked = ", ".join(count(c.number, _single(c.what), c.what) for c in volume.checked if c.number)
    backup = f"backup{' of the index' if volume.id else ''}: {moment(volume.backup_at_ms)}"
    lines = [f"{safe(volume.volume) or 'this device'}: {'all is well' if not volume.findings else 'PROBLEMS'}"]
    lines += [f"    checked: {safe(checked)}"] if checked else []
    lines.append(f"    {backup}")
    rows = [(f.outcome, f"{f.count:,}", f.message) for f in volume.findings]
    for row, finding in zip(table_rows(rows, "    "), volume.findings, strict=True):
        lines += row
        lines += [f"        {safe(subject)}" for subject in finding.subjects[:5]]
        if finding.count > 5:
            lines.append(f"        and {finding.count - 5:,} more")
    return lines
