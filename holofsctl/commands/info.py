# SPDX-License-Identifier: GPL-3.0-or-later
"""info."""

from __future__ import annotations

import argparse
import errno
import os
from typing import Final

from holofs_api import virtual_attributes as virtual
from holofsctl.errors import CommandError
from holofsctl.exit_codes import Exit
from holofsctl.output import safe
from holofsctl.places import VolumePlace, locate
from holofsctl.session import CommandSession

_MEANINGS: Final = {
    "writing": "a program on this device is writing it",
    "unpublished": "no other device can have it yet; it goes out by itself",
    "published": "other devices have it, or can fetch it",
    "ignored": "on this device only; no other device hears of it",
    "remote": "its content is not here yet",
    "arriving": "a newer version is on its way; the one before is shown",
    "past": "as it was at an earlier time",
}
_ATTRIBUTES: Final = {
    "state": virtual.STATE,
    "device": virtual.DEVICE,
    "written": virtual.WRITTEN,
    "hash": virtual.HASH,
    "conflict": virtual.CONFLICT,
    "ignored_by": virtual.IGNORED,
}
"""Keys of the document, and the virtual attributes that they show."""


def info(session: CommandSession, arguments: argparse.Namespace) -> None:
    with session.connect() as client:
        place = locate(client, arguments.place)
    told = _asked(arguments.place, place)
    volume = {"volume": place.volume, "path": place.path.decode("utf-8", "surrogateescape")}
    session.output.data({**volume, **told}, _lines(place, told))


def _asked(path: str, place: VolumePlace) -> dict[str, str]:
    try:
        told = {key: _attribute(path, name) for key, name in _ATTRIBUTES.items()}
    except FileNotFoundError:
        sentence = f"There is no {safe(path)} in a mounted folder: mount {safe(place.volume)}, and say a path in there."
        raise CommandError(sentence, Exit.USAGE, "bad-argument") from None
    except OSError as error:
        raise CommandError(f"{safe(path)} cannot be looked at: {error.strerror or error}.") from None
    if not told["state"]:  # Linux keeps such attributes from programs, whatever the filesystem has
        sentence = "A symbolic link has no attributes: ask about the folder that it is in."
        raise CommandError(sentence, Exit.USAGE, "bad-argument")
    return told


def _attribute(path: str, name: bytes) -> str:
    try:
        return os.getxattr(path, name, follow_symlinks=False).decode("utf-8", "surrogateescape")
    except OSError as error:
        if error.errno == errno.ENODATA:
            return ""
        raise


def _lines(place: VolumePlace, told: dict[str, str]) -> list[str]:
    state = told["state"]
    meaning = f": {_MEANINGS[state]}" if state in _MEANINGS else ""
    lines = [f"{safe(place.volume)}: {safe(place.path) or '/'}", f"  State: {safe(state)}{meaning}."]
    if told["ignored_by"]:
        lines.append(f"  Rule: {safe(told['ignored_by'])}")
        if state not in ("ignored", "writing"):
            lines.append("  It was published before the rule matched it, so it stays published until it is removed.")
    if told["device"]:
        lines.append(f"  Written: {safe(told['written'])} by {safe(told['device'])}")
    if told["conflict"]:
        lines.append(f"  A conflict copy of {safe(told['conflict'])}")
    if told["hash"]:
        lines.append(f"  BLAKE3: {safe(told['hash'])}")
    return lines
