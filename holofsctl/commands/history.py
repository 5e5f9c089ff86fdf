# SPDX-License-Identifier: GPL-3.0-or-later
"""history, restore, trash, history-policy, gc."""

from __future__ import annotations

import argparse
from datetime import datetime

from holofs_api.shell import shell_word
from holofs_api.times import parse_time
from holofs_api.v1 import control_pb2 as pb
from holofs_api.words import count, quoted
from holofsctl.client import Client
from holofsctl.errors import CommandError
from holofsctl.exit_codes import Exit
from holofsctl.output import duration, moment, plain, safe, size, table
from holofsctl.places import VolumePlace, locate
from holofsctl.session import CommandSession

_TIMEOUT_S = 3600.0


def time_told(text: str) -> int:
    """Parse a time in the past, for argparse: wall time in ms."""
    now = datetime.now().astimezone()
    try:
        told = parse_time(text, now)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{quoted(text)} {error}") from None
    if told > now.timestamp() * 1000:
        raise argparse.ArgumentTypeError(f"{quoted(text)} is in the future: say when it was")
    if told <= 0:
        raise argparse.ArgumentTypeError(f"{quoted(text)} is before 1970: say a later time")
    return told


def _file(client: Client, told: str) -> VolumePlace:
    place = locate(client, told)
    if not place.path:
        raise CommandError(f"{safe(told)} is a whole volume: say a file or folder in it.", Exit.USAGE, "bad-argument")
    return place


# ---- history, restore
def history(session: CommandSession, arguments: argparse.Namespace) -> None:
    with session.connect() as client:
        place = _file(client, arguments.place)
        reply = client.call("History", pb.HistoryRequest(volume=place.volume, path=place.path))
    versions = reply.versions
    rows = [(v.id, moment(v.written_ms), size(v.size), v.device or "-", _standing(v)) for v in versions]
    session.output.data([plain(version) for version in versions], table(rows))
    before = [version for version in versions if version.replaced_ms]
    if chosen := [version for version in before if version.next] or before:
        word = f"{shell_word(arguments.place)} --version {shell_word(chosen[0].id)}"
        word += _elsewhere(place.volume, place.path, reply.taken)
        session.output.remark(f"`holofsctl restore {word}` brings that one back.")


def _elsewhere(volume: str, path: bytes, taken: bool) -> str:
    """The option that names another path, for what cannot come back to this one; empty where it can."""
    to = volume.encode() + b":" + path.rpartition(b"/")[2] + b".restored"
    return f" --to {shell_word(to)}" if taken else ""


def _standing(version: pb.PastVersion) -> str:
    standing = (
        f"until {moment(version.replaced_ms)}" if version.replaced_ms else "now" if version.shown else "beside it"
    )
    return standing if version.here else f"{standing}; on another device, fetched when restored"


def restore(session: CommandSession, arguments: argparse.Namespace) -> Exit:
    with session.connect() as client:
        place = _file(client, arguments.place)
        to = _file(client, arguments.to).path if arguments.to else b""
        if arguments.to and locate(client, arguments.to).volume != place.volume:
            raise CommandError("Restoring goes within one volume; copy it from there.", Exit.USAGE, "bad-argument")
        request = pb.RestoreRequest(
            volume=place.volume,
            path=place.path,
            version=arguments.version or "",
            at_ms=arguments.at or 0,
            to=to,
            from_trash=arguments.from_trash,
        )
        done = list(client.stream("Restore", request))
    return _report(session, done)


def _report(session: CommandSession, done: list[pb.Restored]) -> Exit:
    lines = [safe(one.path) for one in done if one.what == "restored"]
    session.output.data([plain(one) for one in done], lines)
    same = sum(one.what == "same" for one in done)
    missing = [one for one in done if one.what == "missing"]
    session.output.remark(f"{count(len(lines), 'item')} restored{f', {same:,} as they were already' if same else ''}.")
    for one in missing:
        session.output.remark(f"{safe(one.path)} is not restored: {safe(one.why)}")
    return Exit.FAILED if missing else Exit.OK


# ---- trash
def list_trash(session: CommandSession, arguments: argparse.Namespace) -> None:
    with session.connect() as client:
        place = locate(client, arguments.place)
        request = pb.ListTrashRequest(volume=place.volume, path=place.path, single=arguments.all)
        items = client.call("ListTrash", request, _TIMEOUT_S).items
    rows = [(moment(item.removed_ms), size(item.bytes), _extent(item), safe(item.path)) for item in items]
    session.output.data([plain(item) for item in items], table(rows))
    if items:
        first = items[0]
        word = shell_word(place.volume.encode() + b":" + first.path)
        word += _elsewhere(place.volume, first.path, first.taken)
        session.output.remark(f"`holofsctl trash restore {word}` brings the first one back.")
    else:
        told = "Nothing that was removed from this path is in the trash." if place.path else "The trash is empty."
        session.output.remark(told)


def _extent(item: pb.TrashItem) -> str:
    what = f"folder, {count(item.files, 'file')}" if item.kind == "directory" else item.kind
    return what if item.here else f"{what} (not all here)"


def empty_trash(session: CommandSession, arguments: argparse.Namespace) -> None:
    with session.connect() as client:
        place = locate(client, arguments.place)
        request = pb.EmptyTrashRequest(volume=place.volume, path=place.path, older_seconds=arguments.older)
        done = client.call("EmptyTrash", request, _TIMEOUT_S)
    session.output.data(plain(done), [])
    told = f"{count(done.files, 'file')} ({size(done.bytes)}) let go on this device; others decide for themselves."
    session.output.remark(f"{told} `holofsctl gc {shell_word(place.volume)} --now` gives the room back.")


# ---- policy, gc
def policy_line(history: pb.HistoryStatus) -> str:
    if not history.daily_seconds:
        return "nothing that was replaced or removed is kept"
    every = f"every version for {duration(history.all_seconds)}" if history.all_seconds else ""
    if history.daily_seconds <= history.all_seconds:
        return every
    daily = f"one a day for {duration(history.daily_seconds)}"
    return f"{every}, then {daily}" if every else daily


def history_policy(session: CommandSession, arguments: argparse.Namespace) -> None:
    request = pb.KeepHistoryRequest(volume=arguments.name or "")
    if not arguments.name and (arguments.all is not None or arguments.daily is not None):
        raise CommandError("How long history is kept is set for one volume: say its name.", Exit.USAGE, "bad-argument")
    if arguments.all is not None:
        request.all_seconds = arguments.all
    if arguments.daily is not None:
        request.daily_seconds = arguments.daily
    if arguments.max is not None:
        request.max_bytes = arguments.max
    with session.connect() as client:
        status = client.call("KeepHistory", request, _TIMEOUT_S)
    session.output.data(plain(status), [policy_line(status) if arguments.name else _device_line(status)])
    if arguments.name:
        session.output.remark(
            f"{count(status.versions, 'replaced version')} kept, {size(status.bytes)}. {size_line(status)}"
        )


def size_line(history: pb.HistoryStatus) -> str:
    """Line of text: the bytes that history and trash take, and their limit."""
    whose = "set for this volume" if history.own_max else "its share of what this device keeps"
    return f"Trash: {size(history.trash_bytes)}. Both together at most {size(history.max_bytes)}, {whose}."


def _device_line(history: pb.HistoryStatus) -> str:
    taken = f"history {size(history.bytes)}, trash {size(history.trash_bytes)} in all volumes"
    return f"{taken}; those without a size of their own share {size(history.max_bytes)}"


def gc(session: CommandSession, arguments: argparse.Namespace) -> None:
    with session.connect() as client:
        request = pb.CollectGarbageRequest(volume=arguments.name, now=arguments.now)
        done = client.call("CollectGarbage", request, _TIMEOUT_S)
    session.output.data(plain(done), [f"{count(done.files, 'file')} deleted, {size(done.bytes)}"])
    if done.waiting:
        word = shell_word(arguments.name)
        told = f"{count(done.waiting, 'file')} more ({size(done.waiting_bytes)}) needed by nothing"
        session.output.remark(f"{told}: deleted when that is so for a day. `holofsctl gc {word} --now` does not wait.")
