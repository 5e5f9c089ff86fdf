# SPDX-License-Identifier: GPL-3.0-or-later
"""pause, resume, limit."""

from __future__ import annotations

import argparse

from holofs_api.setting_kinds import Value
from holofs_api.settings import BY_KEY
from holofs_api.v1 import control_pb2 as pb
from holofsctl.commands.config import overridden
from holofsctl.errors import CommandError
from holofsctl.exit_codes import Exit
from holofsctl.output import plain, safe
from holofsctl.session import CommandSession
from holofsctl.settings_editor import change
from holofsctl.settings_view import told_by_daemon
from holofsctl.traffic_view import limit_lines, pause_lines

_SPEEDS = ("down", "up", "timetable")
_NAMES = (*_SPEEDS, "lan_exempt", "metered")


def pause(session: CommandSession, arguments: argparse.Namespace) -> None:
    request = pb.PauseRequest(volume=arguments.name, device=arguments.device, for_seconds=arguments.seconds)
    reply = session.call("Pause", request)
    session.output.data(plain(reply), _advised(session, pause_lines(reply)))


def resume(session: CommandSession, arguments: argparse.Namespace) -> None:
    reply = session.call("Resume", pb.ResumeRequest(volume=arguments.name, device=arguments.device))
    session.output.data(plain(reply), _advised(session, pause_lines(reply)))
    if not reply.pauses:
        session.output.remark("Nothing is paused.")


def limit(session: CommandSession, arguments: argparse.Namespace) -> None:
    changes = _changes(arguments)
    overriding: list[str] = []
    with session.connect() as client:  # says it where no daemon runs, before anything is written
        if changes:
            change(session.state, changes)
            overriding = _reload(session, [*changes])
        reply = client.call("Traffic", pb.TrafficRequest())
    session.output.data(plain(reply), _advised(session, limit_lines(reply)))
    if not limit_lines(reply):
        session.output.remark("There is no limit.")
    for sentence in overriding:
        session.output.remark(sentence)


def _changes(arguments: argparse.Namespace) -> dict[str, Value | None]:
    """New values by key; None is taken out of the file."""
    told = {name: getattr(arguments, name) for name in _NAMES if getattr(arguments, name) is not None}
    if arguments.off:
        if any(name in told for name in _SPEEDS):
            sentence = "Take all limits away with --off, or set some: one at a time."
            raise CommandError(sentence, Exit.USAGE, "bad-argument")
        told |= dict.fromkeys(_SPEEDS, "")
    return {f"limit.{name}": value or None for name, value in told.items()}


def _reload(session: CommandSession, keys: list[str]) -> list[str]:
    """Lets the daemon use the file; sentences about what goes before it."""
    view = told_by_daemon(session, reload=True)
    if view is None:
        return []
    if view.problems:
        raise CommandError(f"{view.problems[0]} Nothing was changed.", code="settings-bad")
    told = [overridden(view.of(BY_KEY[key])).strip() for key in keys]
    return [safe(sentence) for sentence in dict.fromkeys(told) if sentence]


def _advised(session: CommandSession, lines: list[str]) -> list[str]:
    return [session.output.advised(line) for line in lines]
