# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls of the daemon that the page may make, as JSON: the same that `holofsctl` makes, and no others.

Not among them is what makes this device another one or gives its secrets away: recovery codes, leaving, shutting down,
emptying the trash.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import aclosing
from typing import Any, Final

from holofs_api.plain import BadDocument, filled, plain
from holofs_api.v1 import control_pb2 as pb
from holofs_window.control_client import CallFailed, ControlClient

MOST_ITEMS: Final = 1000
"""Items of a list in an answer; of longer ones, `more` says how many are left out."""
CALLS: Final = frozenset(
    {
        *("Status", "Peers", "ListVolumes", "CreateVolume", "DeviceName", "Mount", "Unmount"),
        *("Members", "SetMember", "Invites", "RevokeInvite"),
        *("ListFolder", "ListIgnored", "History", "ListTrash", "KeepHistory"),
        *("Conflicts", "Brake", "Pause", "Resume"),
    }
)
STREAMS: Final = frozenset({"Resolve", "Restore", "Join"})


class NoSuchCall(Exception):
    """A call that does not exist, or that a page may not make."""


async def run(daemon: ControlClient, method: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """The answer to a call; of a streaming call `steps`, all of them. Raises NoSuchCall, CallFailed."""
    if method not in CALLS | STREAMS:
        raise NoSuchCall
    try:
        request = filled(getattr(pb, f"{method}Request"), data)
    except BadDocument as error:
        raise CallFailed("bad-argument", str(error)) from None
    if method in CALLS:
        return bounded(plain(await daemon.call(method, request)))
    if isinstance(request, pb.JoinRequest):
        request.no_wait = True  # it goes on by itself, and `Status` says how far it is
    async with aclosing(daemon.stream(method, request)) as steps:  # type: ignore[type-var]
        return bounded({"steps": [plain(step) async for step in steps]})


def bounded(answer: dict[str, Any]) -> dict[str, Any]:
    """An answer whose lists have at most MOST_ITEMS items, with `more`: how many of each list are left out."""
    more = {name: len(value) - MOST_ITEMS for name, value in answer.items() if _is_long(value)}
    return {name: value[:MOST_ITEMS] if name in more else value for name, value in answer.items()} | {"more": more}


def _is_long(value: object) -> bool:
    return isinstance(value, list) and len(value) > MOST_ITEMS
