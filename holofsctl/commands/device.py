# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands `up`, `down`, `status`, `device`, `peers` and `doctor`."""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import ExitStack
from typing import NoReturn

from holofs_api.settings import option_words, options_told
from holofs_api.v1 import control_pb2 as pb
from holofsctl import activation, checks, launcher
from holofsctl.client import Client
from holofsctl.closed import run_closed
from holofsctl.colours import painted
from holofsctl.devices import told_apart
from holofsctl.errors import CommandError
from holofsctl.exit_codes import Exit
from holofsctl.output import moment, plain, safe, table
from holofsctl.progress import Progress
from holofsctl.screen import Screen
from holofsctl.session import CommandSession
from holofsctl.status_view import how_reached, status_lines
from holofsctl.terminal import width_of

_RESTORE_TIMEOUT_S = 120.0
_WATCH_S = 1.0


def up(session: CommandSession, arguments: argparse.Namespace) -> Exit:
    told = options_told(arguments)
    with Progress("Starting holofsd"):
        started = launcher.ensure_running(session.state, option_words(told))
    with session.connect() as client:
        mounts = client.call("RestoreMounts", pb.RestoreMountsRequest(), _RESTORE_TIMEOUT_S).mounts
        daemon = client.daemon
    lines = [safe(info.path) for info in mounts if info.state == "up"]
    facts = {"started": started, "device_id": daemon.device_id, "pid": daemon.pid, "mounts": [plain(m) for m in mounts]}
    session.output.data(facts, lines)
    session.output.remark(f"holofsd {'started' if started else 'runs already'} (process {daemon.pid}).")
    if told and not started:
        session.output.remark("Its settings stay as they are: options count when it starts (`holofsctl down` ends it).")
    failed = [info for info in mounts if info.state != "up"]
    for info in failed:
        session.output.remark(f"{safe(info.path)} is not mounted: {safe(info.explanation)}")
    return Exit.FAILED if failed else Exit.OK


def down(session: CommandSession, arguments: argparse.Namespace) -> None:
    command = activation.switch_off(session.state)
    with Progress("Stopping holofsd"):
        was_running = launcher.stop(session.state)
    session.output.data({"was_running": was_running}, [])
    session.output.remark("holofsd stopped." if was_running else "holofsd was not running.")
    if command:
        session.output.remark(f"The next command may let systemd start it again: `{command}` prevents that.")


def status(session: CommandSession, arguments: argparse.Namespace) -> None:
    if arguments.watch and width_of(sys.stdout) and not session.output.as_json:
        _watch_status(session, arguments.name)
    with session.connect() as client:
        while True:
            reply = client.call("Status", pb.StatusRequest(volume=arguments.name))
            session.output.data(plain(reply), _status_lines(session, reply), paint=painted)
            if not arguments.watch:
                return
            time.sleep(_WATCH_S)


def _watch_status(session: CommandSession, volume: str) -> NoReturn:
    """Shows the status until Ctrl-C, in place, also while the daemon is away for a moment, as for an upgrade."""
    client: Client | None = session.connect()
    lines: list[str] = []
    with Screen(sys.stdout) as screen, ExitStack() as connected:
        while True:
            try:
                # Not by way of systemd: who ends the daemon does not want a status that is watched to start it again.
                client = client or Client(session.state)
                connected.callback(client.close)
                while True:
                    lines = _status_lines(session, client.call("Status", pb.StatusRequest(volume=volume)))
                    screen.show(session.output.shown(lines, painted))
                    time.sleep(_WATCH_S)
            except CommandError as error:
                if error.exit_code not in (Exit.NOT_RUNNING, Exit.TIMED_OUT):
                    raise
                told = [session.output.advised(error.message), "Until it answers, this is how it was:", "", *lines]
            client = None
            connected.close()
            screen.show(session.output.shown(told, painted))
            time.sleep(_WATCH_S)


def _status_lines(session: CommandSession, reply: pb.StatusReply) -> list[str]:
    return [session.output.advised(line) for line in status_lines(reply)]


def device_name(session: CommandSession, arguments: argparse.Namespace) -> None:
    request = pb.DeviceNameRequest() if arguments.new is None else pb.DeviceNameRequest(name=arguments.new)
    with session.connect() as client:
        reply = client.call("DeviceName", request)
        others = client.call("Peers", pb.PeersRequest()).peers if arguments.new is not None else []
    session.output.data(plain(reply), [safe(reply.name)])
    if others:
        session.output.remark(
            "The other devices hear of it when they are connected; files that are there keep their names."
        )

    for other in others:
        if other.name == reply.name:
            session.output.remark(_shared_name(other))


def _shared_name(other: pb.Peer) -> str:
    """Remark about a name that another member has, too. It is no error: each device chooses its own name."""
    volumes = " and ".join(safe(volume) for volume in other.volumes)
    return (
        f"Another device of {volumes} is called {safe(other.name)}, too: where they are named, the beginning of the id"
        f" stands beside the name ({other.device_id[:8]} for that one), and commands that take a device need the id."
    )


def new_key(session: CommandSession, arguments: argparse.Namespace) -> None:
    device = run_closed(session, "holofsd.daemon.new_key_main", [], "`holofsctl down` first: holofsd runs.").decode()
    session.output.data({"device_id": device.strip()}, [device.strip()])
    session.output.remark(
        "This is another device now: it is no member of its volumes until it joins them again by a ticket"
        " (`holofsctl share NAME` on a device that is, `holofsctl join -` here). Everything in them stays, and"
        " what was changed here is sent then."
    )


def peers(session: CommandSession, arguments: argparse.Namespace) -> None:
    found = session.call("Peers", pb.PeersRequest()).peers
    names = told_apart(found)
    rows = [
        (names[p.device_id], _presence(p), " ".join(p.volumes), how_reached(p) or p.address or p.explanation)
        for p in found
    ]
    session.output.data([plain(peer) for peer in found], table(rows))
    if not found:
        session.output.remark("No other devices yet: `holofsctl share NAME` invites one.")


def _presence(peer: pb.Peer) -> str:
    if peer.connected:
        return "connected"
    return f"last seen {moment(peer.last_seen_ms)}" if peer.last_seen_ms else "never seen"


def doctor(session: CommandSession, arguments: argparse.Namespace) -> Exit:
    found = checks.run(session.state)
    rows = [
        ("ok" if check.fine else "PROBLEM", check.subject, session.output.advised(check.sentence)) for check in found
    ]
    plain_checks = [{"ok": check.fine, "subject": check.subject, "message": check.sentence} for check in found]
    session.output.data(plain_checks, table(rows), paint=painted)
    if all(check.fine for check in found):
        return Exit.OK
    raise CommandError("Something is in the way; see the lines marked PROBLEM.", Exit.FAILED, "problem-found")
