# SPDX-License-Identifier: GPL-3.0-or-later
"""The help of `holofsctl` itself: all commands in groups, in as many columns as the terminal has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from shutil import get_terminal_size
from typing import Final

from holofsctl.exit_codes import EPILOG
from holofsctl.terminal import LEAST_WIDTH, wrapped

_LEFT: Final = 27
"""Columns for the commands; their explanations begin behind them."""
_WIDEST: Final = 120

_Group = tuple[str, Sequence[tuple[str, str]]]

_GROUPS: Final[Sequence[_Group]] = (
    (
        "this device",
        (
            ("help [COMMAND]", "this, or the help of a command"),
            ("up", "start the daemon if needed, bring mounts back"),
            ("down", "unmount everything, stop the daemon"),
            ("install", "start at login, by systemd or the desktop ([--linger] [--dry-run])"),
            ("uninstall", "start at login no more; files, keys and history stay ([--dry-run])"),
            ("status [NAME]", "is it safe on another device yet? ([--watch])"),
            ("device name [NEW]", "what this device is called; with NEW: call it so"),
            ("device new-key", "make another device of a copied state directory"),
            ("config list", "the settings of this device, and where each is from"),
            ("config get|set|unset KEY", "show or change one, in a file with comments (config edit|path|reload)"),
            ("pause [NAME]", "stop the traffic of a volume, or all of it ([--device DEVICE] [--for 2h])"),
            ("resume [NAME]", "go on with it ([--device DEVICE])"),
            ("limit", "how fast to send and fetch at most ([--down 5M] [--up 1M] [--timetable T] [--off] ...)"),
            ("version", "of this program, the daemon and the mounts, and whether they fit"),
            ("completion bash|zsh|fish", "print a script with which that shell completes commands"),
            ("peers", "the other devices, and how they are reached"),
            ("ping DEVICE", "path, round trip and throughput to another device ([-c N] [--no-measure])"),
            ("events", "what happens, as it happens ([--since TOKEN] [--no-wait])"),
            ("ui", "all of this in a browser; prints its link first ([--no-open])"),
            ("doctor", "look for what could be in the way"),
            ("log [NAME]", "the daemon's log ([-f] [-n N] [--level warning] [--since 2h]), with or without daemon"),
            ("fsck [NAME]", "check what is on disk ([--repair] [--content] [--from-backup]), with or without daemon"),
        ),
    ),
    (
        "volumes",
        (
            ("create NAME", "make a new volume"),
            ("list", "the volumes of this device"),
            ("mount NAME PATH", "show a volume as a folder ([--read-only] [--at TIME])"),
            ("unmount PATH", "take the folder away ([--force])"),
            ("import DIR NAME[:PATH]", "take all files of a folder into a volume ([--move] [--verify])"),
            ("export NAME[:PATH] DIR", "copy a volume, or a part of it, into a folder ([--verify])"),
            ("info PATH", "what is known of a file: is it published, ignored, who wrote it"),
            ("ignored NAME", "what a .holofsignore keeps on this device, and by which line"),
            ("conflicts [NAME|PATH]", "files that were changed in two places at once"),
            ("diff PATH [COPY]", "what differs between their contents"),
            (
                "resolve PATH",
                "settle it ([--keep shown|copy|both|newest|DEVICE]), or all of NAME or PATH with --all",
            ),
            ("history PATH", "the versions of a file that are kept"),
            ("restore PATH", "bring one back, or what was removed ([--version ID|--at TIME] [--to PATH])"),
            ("trash list|empty NAME", "what was removed and is still kept; let it go ([--older T])"),
            ("history-policy NAME", "how long all of that is kept ([--all T] [--daily T])"),
            ("gc NAME", "delete content that nothing needs any more"),
            (
                "brake NAME",
                "what is held of many removals elsewhere ([--files N] [--percent P] [--off]);"
                " let it happen, or keep everything: --accept, --refuse",
            ),
            ("record-budget NAME", "what records of other devices take here ([--max SIZE])"),
            ("scrub [NAME]", "read all content here, repair from other devices what is damaged"),
            ("wait NAME", "until other devices hold everything ([--copies N] [--timeout T])"),
            ("leave NAME", "stop holding a volume ([--delete])"),
        ),
    ),
    (
        "people and devices",
        (
            (
                "share NAME",
                "print an invite, a ticket ([--read-only|--admin] [--uses N] [--expires 24h] [--reuse] [--qr])",
            ),
            ("join TICKET|-", "redeem a ticket; `-` reads it from standard input ([--name NAME] [--no-wait])"),
            ("share --list NAME", "the invites made here that can still be redeemed"),
            ("share --revoke NAME INVITE", "make one worth nothing"),
            ("members NAME", "who has the volume"),
            ("members role NAME DEVICE reader|writer|admin", "change what a device may do"),
            ("members remove NAME DEVICE", "take a device out; --undo: with all it did as an admin"),
            ("recovery NAME", "print the code that makes any device an admin ([--forget])"),
            ("recover CODE|-", "become an admin by that code ([--name NAME] [--from DEVICE[@ADDRESS]])"),
        ),
    ),
)
_FOOT: Final = (
    "Every command takes --json (data as JSON) and --help. HOLOFS_STATE_DIR or --state-dir selects the device."
    " HOLOFS_DEBUG=1 shows where an internal error came from."
)


def help_text() -> str:
    return "\n".join(_lines(_width())) + "\n"


def fitting(lines: Iterable[str]) -> list[str]:
    """Lines of a command's own help, none wider than the terminal."""
    return [piece for line in lines for piece in wrapped(line, _width())]


def _width() -> int:
    return max(LEAST_WIDTH, min(get_terminal_size().columns, _WIDEST))


def _lines(width: int) -> Iterator[str]:
    yield from wrapped("usage: holofsctl [--state-dir DIR] [--json] COMMAND ...", width)
    for title, entries in _GROUPS:
        yield from ("", title)
        for command, text in entries:
            yield from _entry(command, text, width)
    for paragraph in (_FOOT, EPILOG):
        yield ""
        yield from wrapped(paragraph, width, 0)


def _entry(command: str, text: str, width: int) -> Iterator[str]:
    """Side by side where there is room, else one below the other."""
    if len(command) + 4 <= _LEFT + 2 and width >= 2 * _LEFT + 10:
        yield from wrapped(
            f"  {command:<{_LEFT}}{text}" if len(command) < _LEFT else f"  {command} {text}", width, _LEFT + 2
        )
        return
    yield from wrapped(f"  {command}", width, 6)
    yield from wrapped(f"      {text}", width, 6)
