# SPDX-License-Identifier: GPL-3.0-or-later
"""Command `log`: what the daemon wrote into its log, for a person, with or without a daemon that runs."""

from __future__ import annotations

import argparse
import json
import select
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any, Final

from holofs_api.state_directory import FolderContent, standing
from holofs_api.v1 import control_pb2 as pb
from holofsctl.client import not_running
from holofsctl.daemon_log import Filter, Line, LogReader, is_about
from holofsctl.errors import CommandError
from holofsctl.exit_codes import Exit
from holofsctl.output import print_text, safe, versioned
from holofsctl.session import CommandSession
from holofsctl.terminal import give_up_output

DEFAULT_LINES: Final = 100
_LOOK_MS: Final = 200
"""Time between two looks at a log that is followed."""
_SHOWN_APART: Final = ("timestamp", "level", "event", "logger", "exception", "stack")


def log(session: CommandSession, arguments: argparse.Namespace) -> Exit:
    if standing(session.state) is not FolderContent.DEVICE:
        raise not_running(session.state)
    about = _about(session, arguments.name) if arguments.name else None
    wanted = Filter(arguments.level, arguments.since or 0, about)
    most = arguments.lines
    if most is None and not arguments.since:
        most = DEFAULT_LINES
    try:
        with LogReader(session.state) as reader:
            lines = reader.last(wanted, most)
            if not arguments.follow:
                lines += reader.unfinished(wanted)
                lines = lines[-most:] if most else [] if most == 0 else lines
            _print(session, lines)
            if arguments.follow:
                _follow(session, reader, wanted)
    except BrokenPipeError:  # as with `| head`: who reads has enough
        give_up_output()
        return Exit.OK
    if not lines:
        session.output.remark("The log has no such line.")
    return Exit.OK


def _about(session: CommandSession, name: str) -> Callable[[dict[str, Any]], bool]:
    """Raises CommandError where the daemon knows no such volume. Without a daemon, `name` is taken as it is."""
    try:
        reply = session.call("Status", pb.StatusRequest(volume=name))
    except CommandError as error:
        if error.exit_code != Exit.NOT_RUNNING:
            raise
        return is_about([name], [], name)
    volume = reply.volumes[0].volume
    return is_about([volume.name], [mount.path for mount in reply.mounts], volume.id)


def _follow(session: CommandSession, reader: LogReader, wanted: Filter) -> None:
    """Ends with Ctrl-C, or when nobody reads standard output any more (BrokenPipeError)."""
    end = select.poll()
    if sys.stdout is not None:
        end.register(sys.stdout.fileno(), 0)
    while True:
        _print(session, reader.more(wanted))
        if any(event & (select.POLLERR | select.POLLHUP) for _, event in end.poll(_LOOK_MS)):
            raise BrokenPipeError


def _print(session: CommandSession, lines: Iterable[Line]) -> None:
    for line in lines:
        if session.output.as_json:
            print_text(json.dumps(versioned(line.event or {"text": line.text})) + "\n")
        else:
            session.output.data(None, _shown(line))


def _shown(line: Line) -> list[str]:
    if not line.event:
        return [safe(line.text)] if line.text else []
    event = line.event
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(line.at_ms / 1000))
    level = str(event.get("level", "-")).upper()
    fields = [f"{key}={_word(value)}" for key, value in event.items() if key not in _SHOWN_APART]
    shown = [safe("  ".join([at, f"{level:<8}", event["event"], *([" ".join(fields)] if fields else [])]))]
    for name in ("exception", "stack"):
        shown += [f"    {safe(part)}" for part in str(event.get(name) or "").splitlines()]
    return shown


def _word(value: object) -> str:
    if isinstance(value, str) and value and not any(mark in value for mark in " \"'=\n\t"):
        return value
    return json.dumps(value, ensure_ascii=False)
