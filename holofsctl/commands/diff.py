# SPDX-License-Identifier: GPL-3.0-or-later
"""diff."""

from __future__ import annotations

import argparse

from holofs_api.v1 import control_pb2 as pb
from holofsctl.client import Client
from holofsctl.comparing import compare
from holofsctl.conflict_view import ConflictChoices, grouped, writer
from holofsctl.errors import CommandError
from holofsctl.exit_codes import Exit
from holofsctl.output import safe
from holofsctl.places import VolumePlace, locate
from holofsctl.session import CommandSession


def diff(session: CommandSession, arguments: argparse.Namespace) -> None:
    with session.connect() as client:
        place = locate(client, arguments.place)
        conflict = _conflict_at(client, place)
        copies = _told(client, conflict, arguments.copy) if arguments.copy else _meant(conflict, place.path)
        found = [compare(client, conflict, copy, session.output.remark) for copy in copies]
    exact = not any(one.explanation for one in found)
    session.output.data([one.plain() for one in found], [line for one in found for line in one.lines()], exact)


def _conflict_at(client: Client, place: VolumePlace) -> ConflictChoices:
    request = pb.ConflictsRequest(volume=place.volume, path=place.path)
    for conflict in grouped(client.call("Conflicts", request).conflicts):
        if conflict.is_at(place.path):
            return conflict
    sentence = "There is nothing to compare: nothing else stands for this name."
    raise CommandError(sentence, code="no-conflict")


def _meant(conflict: ConflictChoices, path: bytes) -> list[pb.Alternative]:
    """The copy of that name, else all of them."""
    copies = list(conflict.choices[1:])
    return [copy for copy in copies if copy.path == path] or copies


def _told(client: Client, conflict: ConflictChoices, told: str) -> list[pb.Alternative]:
    """Choose the copy by its device, or by its path."""
    copies = conflict.choices[1:]
    found = [copy for copy in copies if copy.device == told]
    if not found:
        path = locate(client, told).path
        found = [copy for copy in copies if path and copy.path == path]
    if not found:
        writers = ", ".join(sorted({safe(writer(copy)) for copy in copies}))
        sentence = f"{safe(told)} is neither a copy of this file nor who wrote one; there are those of {writers}."
        raise CommandError(sentence, Exit.USAGE, "bad-argument")
    return found
