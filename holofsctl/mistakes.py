# SPDX-License-Identifier: GPL-3.0-or-later
"""Guess of what was meant by a word that is no command, option, volume or device."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final

from holofsctl.output import safe

_OTHER_WORDS: Final = {
    "add": "create",
    "check": "doctor",
    "configure": "config",
    "delete": "leave",
    "devices": "peers",
    "init": "create",
    "invite": "share",
    "logs": "log",
    "ls": "list",
    "make": "create",
    "new": "create",
    "remove": "leave",
    "rename": "device",
    "resume": "up",
    "revert": "restore",
    "rm": "leave",
    "set": "config",
    "settings": "config",
    "start": "up",
    "stop": "down",
    "sync": "wait",
    "umount": "unmount",
    "undelete": "restore",
    "unmnt": "unmount",
    "volumes": "list",
}
"""Commands by the names that other programs have for them."""


def did_you_mean(told: str, known: Iterable[str]) -> str:
    """A question to put behind a sentence, with a space before it; empty where nothing is near."""
    near = get_close_matches(told.lower(), [*dict.fromkeys(known)], n=1, cutoff=0.65)
    return f" Did you mean `{safe(near[0])}`?" if near else ""


def command_meant(told: str, commands: Iterable[str]) -> str:
    """Guess of the command that was meant; otherwise as `did_you_mean`."""
    known = [*commands]
    other = _OTHER_WORDS.get(told.lower(), "")
    return f" Did you mean `{other}`?" if other in known else did_you_mean(told, known)
