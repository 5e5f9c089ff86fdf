# SPDX-License-Identifier: GPL-3.0-or-later
"""brake, record-budget, scrub."""

from __future__ import annotations

import argparse
import os
from typing import Final

from holofs_api.shell import shell_word
from holofs_api.v1 import control_pb2 as pb
from holofs_api.words import count
from holofsctl.client import CALL_TIMEOUT_S
from holofsctl.errors import CommandError
from holofsctl.exit_codes import Exit
from holofsctl.output import moment, plain, safe, size, table
from holofsctl.progress import Progress
from holofsctl.session import CommandSession

_DECIDING_S: Final = 3600.0
"""Carrying out a word takes about a second for a thousand files; it goes on if nobody waits."""
_SHOWN: Final = 20
"""Names printed for a person; --json has up to a thousand."""


def brake(session: CommandSession, arguments: argparse.Namespace) -> None:
    act, word = _act(arguments), shell_word(arguments.name)
    request = pb.BrakeRequest(volume=arguments.name, act=act)
    if act == "limit":
        now = session.call("Brake", pb.BrakeRequest(volume=arguments.name))
        request.files = now.files if arguments.files is None else arguments.files
        request.percent = now.percent if arguments.percent is None else arguments.percent
    if act == "skip":
        request.skip.extend(os.fsencode(name) for name in arguments.skip)
    with session.connect() as client:
        reply = client.call("Brake", request, _DECIDING_S if act in ("accept", "refuse") else CALL_TIMEOUT_S)
    session.output.data(plain(reply), _brake_lines(reply) if act not in ("accept", "refuse") else [])
    if act == "accept":
        session.output.remark(_decided(reply, f"gone here too; `holofsctl trash list {word}` shows them."))
    elif act == "refuse":
        session.output.remark(_decided(reply, "kept, and come back on the other devices."))
    elif reply.held_files or reply.held_directories:
        session.output.remark(
            f"`holofsctl brake {word} --accept` lets it happen, `holofsctl brake {word} --refuse` keeps everything."
        )


def _act(arguments: argparse.Namespace) -> str:
    limits = arguments.files is not None or arguments.percent is not None
    if sum((bool(arguments.verdict), limits, arguments.skip is not None)) > 1:
        raise CommandError(
            "Set the limit, name folders to skip, or decide about what is held: one at a time.",
            Exit.USAGE,
            "bad-argument",
        )
    if arguments.verdict:
        return str(arguments.verdict)
    if arguments.skip is not None:
        return "skip"
    return "limit" if limits else ""


def _decided(reply: pb.BrakeReply, what: str) -> str:
    if not reply.decided:
        return "The brake holds nothing."
    return f"{count(reply.decided, 'file or folder', 'files and folders')} {what}"


def _brake_lines(reply: pb.BrakeReply) -> list[str]:
    if reply.off:
        lines = ["The brake is off: removals from other devices happen here at once."]
    else:
        lines = [
            f"The brake holds removals from other devices when they are more than {count(reply.files, 'file')}"
            f" and more than {reply.percent} % of the volume within ten minutes."
        ]
    if reply.skip:
        lines.append(f"Beside what tools are known to make it skips: {', '.join(safe(name) for name in reply.skip)}.")
    if not reply.held_files and not reply.held_directories:
        return [*lines, "It holds nothing."]
    lines.append(held_sentence(reply))
    lines += [f"    {safe(path)}" for path in reply.paths[:_SHOWN]]
    if reply.held_files + reply.held_directories > _SHOWN:
        lines.append("    ...")
    return lines


def held_sentence(held: pb.BrakeReply | pb.VolumeStatus) -> str:
    """Lines about what the brake holds, for `brake` and for `status`."""
    files, folders = count(held.held_files, "file"), count(held.held_directories, "folder")
    what = files if not held.held_directories else folders if not held.held_files else f"{files} and {folders}"
    stay = "it is" if held.held_files + held.held_directories == 1 else "they are"
    by = safe(", ".join(held.held_by)) or "another device"
    return f"Held by the brake since {moment(held.held_since_ms)}: {by} removed {what}; {stay} still here."


def record_budget(session: CommandSession, arguments: argparse.Namespace) -> None:
    request = pb.RecordBudgetRequest(volume=arguments.name)
    if arguments.max is not None:
        request.max_bytes = arguments.max
    with session.connect() as client:
        reply = client.call("RecordBudget", request, CALL_TIMEOUT_S)
    session.output.data(plain(reply), _budget_lines(reply))
    for records in reply.devices:
        if records.excess:
            session.output.remark(excess_sentence(records, arguments.name))


def _budget_lines(reply: pb.RecordBudgetReply) -> list[str]:
    if not reply.devices:
        return ["No other device has records here."]
    rows = []
    for records in reply.devices:
        strange = f"{size(records.strange_bytes)} of them not understood" if records.strange_bytes else ""
        most = f"of at most {size(records.max_bytes)}"
        state = "removed" if records.removed else "waits" if records.excess else ""
        rows.append((records.name or records.device_id[:8], size(records.bytes), most, strange, state))
    return table(rows)


def excess_sentence(records: pb.DeviceRecords, volume: str) -> str:
    """Sentence that says why a device's records wait, and what to do; for `record-budget` and for `status`."""
    name, word = safe(records.name or records.device_id[:8]), shell_word(volume)
    # By its key: a name is what that device likes, the beginning of another one's key for example.
    remove = f"`holofsctl members remove {word} {shell_word(records.device_id[:16])}` removes it"
    if records.excess == "disk":
        return f"Changes of {name} wait, for the disk is nearly full: make room there, and they come."
    if records.excess == "not understood":
        return (
            f"Changes of {name} wait: {size(records.strange_bytes)} of its records are not understood here, of at most"
            f" {size(records.strange_max_bytes)}. Upgrade this program if that device has a newer one; else {remove}."
        )
    return (
        f"Changes of {name} wait: its records take {size(records.bytes)}, and may take {size(records.max_bytes)}."
        f" `holofsctl record-budget {word}` with --max {_more(records.max_bytes)} takes more;"
        f" if that device means harm, {remove}."
    )


def _more(bytes: int) -> str:
    """Twice as much, as one would say it."""
    return f"{max(-(-2 * bytes // (1 << 30)), 1)}G"


def scrub(session: CommandSession, arguments: argparse.Namespace) -> Exit:
    ended: list[pb.ScrubProgress] = []
    request = pb.ScrubRequest(volume=arguments.name, no_wait=arguments.no_wait)
    with session.connect() as client, Progress("Reading all content") as bar:
        for step in client.stream("Scrub", request):
            bar.expect(step.files_total)
            bar.reached(step.files)
            if step.done:
                ended.append(step)
    session.output.data([plain(step) for step in ended], [line for step in ended for line in _scrubbed(step)])
    left = sum(step.damaged - step.repaired for step in ended)
    if not left:
        return Exit.OK
    each = "it is fetched as soon as a device" if left == 1 else "each is fetched as soon as a device"
    raise CommandError(
        f"{count(left, 'content file')} damaged here: {each} that has it can be reached.",
        Exit.FAILED,
        "content-damaged",
    )


def _scrubbed(step: pb.ScrubProgress) -> list[str]:
    line = f"{safe(step.volume)}: {count(step.files, 'content file')} read, {size(step.bytes)}; "
    if not step.damaged:
        return [line + "all whole."]
    lines = [line + f"{step.damaged:,} damaged or gone, {step.repaired:,} of them whole again."]
    return lines + [f"    cannot be read now: {safe(path)}" for path in step.paths]
