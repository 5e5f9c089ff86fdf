# SPDX-License-Identifier: GPL-3.0-or-later
"""conflicts, resolve."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator

from holofs_api.shell import shell_word
from holofs_api.v1 import control_pb2 as pb
from holofs_api.words import count
from holofsctl.asking import Answer, ask
from holofsctl.client import Client
from holofsctl.conflict_view import ConflictChoices, grouped, lines_of, settled_line
from holofsctl.errors import CommandError
from holofsctl.exit_codes import Exit
from holofsctl.output import plain, safe
from holofsctl.places import VolumePlace, locate
from holofsctl.session import CommandSession

_WORDS = ("shown", "copy", "both", "newest")


def conflicts(session: CommandSession, arguments: argparse.Namespace) -> None:
    with session.connect() as client:
        found = _listed(client, locate(client, arguments.place))
    lines = [line for conflict in grouped(found) for line in lines_of(conflict)]
    session.output.data([plain(conflict) for conflict in found], lines)
    if found:
        word = shell_word(found[0].volume.encode() + b":" + found[0].shown_path)
        session.output.remark(f"`holofsctl diff {word}` shows what differs, `holofsctl resolve {word}` settles it.")
    else:
        session.output.remark("No conflicts.")


def resolve(session: CommandSession, arguments: argparse.Namespace) -> Exit:
    if not arguments.place and not arguments.all:
        raise CommandError("Say which file, or --all.", Exit.USAGE, "bad-argument")
    with session.connect() as client:
        place = locate(client, arguments.place)
        if not place.path and not arguments.all:
            raise CommandError(
                f"{safe(place.volume)} is a volume: say a file in it, or --all.", Exit.USAGE, "bad-argument"
            )
        if arguments.keep is None:
            return _ask_for_each(session, client, place, arguments.all)
        how, device = _told(arguments.keep)
        request = pb.ResolveRequest(volume=place.volume, path=place.path, all=arguments.all, keep=how, device=device)
        return _report(session, client.stream("Resolve", request), arguments.all)


def _told(keep: str) -> tuple[str, str]:
    if keep in _WORDS:
        return keep, ""
    device = keep.removeprefix("device:")
    if not device:
        raise CommandError("--keep takes shown, copy, both, newest or a device's name.", Exit.USAGE, "bad-argument")
    return "device", device


def _listed(client: Client, place: VolumePlace) -> list[pb.Conflict]:
    return list(client.call("Conflicts", pb.ConflictsRequest(volume=place.volume, path=place.path)).conflicts)


def _report(session: CommandSession, steps: Iterable[pb.SettledConflict], many: bool) -> Exit:
    done = list(steps)
    told = [plain(step) for step in done]
    session.output.data(told if many else told[0], [settled_line(step) for step in done])
    problems = sum(bool(step.problem) for step in done)
    if problems:
        raise CommandError(f"{count(problems, 'conflict')} of {len(done)} could not be settled.", Exit.FAILED)
    if not done:
        session.output.remark("No conflicts.")
    return Exit.OK


# ---- asking a person
def _ask_for_each(session: CommandSession, client: Client, place: VolumePlace, many: bool) -> Exit:
    if session.output.as_json:
        raise CommandError("With --json nobody is asked: say --keep.", Exit.USAGE, "bad-argument")
    found = grouped(_listed(client, place))
    if not many:
        found = [conflict for conflict in found if conflict.is_at(place.path)]
        if not found:
            raise CommandError("There is nothing to choose: nothing else stands for this name.", code="no-conflict")
    if not found:
        session.output.remark("No conflicts.")
    problems = 0
    for answer in _answers(session, client, found):
        try:
            _report(session, client.stream("Resolve", answer), many=True)
        except CommandError as error:
            # The next one may well be settled: what is in the way of this one is told, and it stays.
            session.output.remark(f"Not settled: {safe(error.message)}")
            problems += 1
    return Exit.FAILED if problems else Exit.OK


def _answers(session: CommandSession, client: Client, found: list[ConflictChoices]) -> Iterator[pb.ResolveRequest]:
    for conflict in found:
        answer, id = ask(session, client, conflict)
        if answer is Answer.STOP:
            return
        if answer is not Answer.SKIP:
            keep = "both" if answer is Answer.BOTH else "id"
            yield pb.ResolveRequest(volume=conflict.volume, path=conflict.path, keep=keep, id=id)
