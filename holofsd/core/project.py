# SPDX-License-Identifier: GPL-3.0-or-later
"""Projection from the nodes that want one name to what is shown there: the same on every device
(docs/model.md#projection)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from blake3 import blake3

from holofsd.core.errors import BadArgument
from holofsd.core.folders import seniority
from holofsd.core.ids import AuthorId, Dot, Hlc, NodeId
from holofsd.core.node import Placement, live_versions
from holofsd.core.state import Body, Kind, NodeState, Version
from holofsd.core.text import without_hidden

_MAX_NAME: Final = 255
_MAX_DEVICE: Final = 40
_MAX_EXTENSION: Final = 32
_LAST_SECOND: Final = 253402300799  # 9999-12-31 23:59:59 UTC
_AUTHOR_BYTES: Final = 32
_UNPRINTABLE: Final = re.compile(r"[/\x00-\x1f\x7f()]+")
_CONFLICT: Final = re.compile(
    rb"(?s)(?P<stem>.+) \(conflict [^()/]+ \d{4}-\d\d-\d\d \d\d-\d\d-\d\d [0-9a-f]{8,64}\)(?P<extension>\.[^.]*)?"
)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A visible node and the placement by which it wants the name."""

    state: NodeState
    placement: Placement


@dataclass(frozen=True, slots=True)
class SlotEntry:
    """One name to show. `dot` is None for the node's shown version, else the conflict copy.

    `twins`: other nodes that this name stands for, files of the same content or directories; an operation on it applies
    to all of them.
    """

    name: bytes
    node: NodeId
    dot: Dot | None
    twins: tuple[NodeId, ...] = ()


# ---- tokens and names ----
def token(dot: Dot) -> bytes:
    return dot.author + dot.counter.to_bytes(8, "big")


def parse_token(b: bytes) -> Dot:
    """Raises BadArgument."""
    if len(b) != _AUTHOR_BYTES + 8:
        raise BadArgument("A version token has 40 bytes.")
    return Dot(AuthorId(b[:_AUTHOR_BYTES]), int.from_bytes(b[_AUTHOR_BYTES:], "big"))


def _cut(text: bytes, limit: int) -> bytes:
    """Cuts text to at most `limit` bytes, before a character rather than inside one (text need not be UTF-8)."""
    if len(text) <= limit:
        return text
    for end in range(limit, max(limit - 4, 0), -1):
        if text[end] & 0xC0 != 0x80:
            return text[:end]
    return text[:limit]


def _split_extension(name: bytes) -> tuple[bytes, bytes]:
    at = name.rfind(b".")
    if at <= 0 or at == len(name) - 1 or len(name) - at > _MAX_EXTENSION:
        return name, b""
    return name[:at], name[at:]


def conflict_name(name: bytes, device: str, wall_ms: int, dot: Dot, digits: int = 8) -> bytes:
    """`name (conflict <device> <UTC date time> <digits>).ext`, at most 255 bytes, the stem cut if need be.

    The digits are the beginning of a hash of the dot, and of the name too where its stem is cut.
    """
    when = (
        datetime.fromtimestamp(min(max(wall_ms, 0) // 1000, _LAST_SECOND), UTC).strftime("%Y-%m-%d %H-%M-%S").encode()
    )
    clean = _UNPRINTABLE.sub("_", without_hidden(device)).strip().encode("utf-8", "replace")
    who = _cut(clean, _MAX_DEVICE) or b"unknown"
    stem, extension = _split_extension(name)
    room = _MAX_NAME - len(extension) - len(who) - len(when) - digits - len(b" (conflict   )")
    # Two long names of one node could be cut to the same stem, so what was cut off goes into the digits.
    short = blake3(token(dot) + (name if len(stem) > room else b"")).hexdigest()[:digits]
    return _cut(stem, room) + b" (conflict " + b" ".join((who, when, short.encode())) + b")" + extension


def base_of_conflict_name(name: bytes) -> bytes | None:
    """The name that a conflict name was made from (its beginning, where the stem was cut); None for other names."""
    match = _CONFLICT.fullmatch(name)
    return match["stem"] + (match["extension"] or b"") if match else None


# ---- one slot ----
@dataclass(slots=True)
class _Shown:
    candidate: Candidate
    body: Body | None
    twins: list[NodeId]


def project_slot(name: bytes, candidates: Sequence[Candidate], taken: Callable[[bytes], bool]) -> tuple[SlotEntry, ...]:
    """Projects `candidates`, all of which want `name` in one directory, to what they show; the entry with the name
    itself first.

    A directory beats a file, then the highest link stamp wins. Nodes of the same content (the mode may differ) show
    once, and so do directories, whatever is in them: as the one that `core.folders` chooses. `taken` says whether
    another node has that very name by its own placement, never whether a conflict name was given before: so the answer
    does not depend on the order in which slots are projected.
    """
    shown = _show(candidates)
    if not shown:
        return ()
    entries = [SlotEntry(name, shown[0].candidate.state.id, None, tuple(shown[0].twins))]
    used: set[bytes] = {name}

    def free(candidate: bytes) -> bool:
        return candidate not in used and not taken(candidate)

    for item in shown[1:]:
        state = item.candidate.state
        other = _free_name(name, state.id, _naming_version(state), item.candidate.placement.stamp, free)
        used.add(other)
        entries.append(SlotEntry(other, state.id, None, tuple(item.twins)))
    for item in shown:
        entries += _copies(name, item, candidates, used, free)
    return tuple(entries)


def _order(candidate: Candidate) -> tuple[Hlc, NodeId]:
    return (candidate.placement.stamp, candidate.state.id)


def _show(candidates: Sequence[Candidate]) -> list[_Shown]:
    shown: list[_Shown] = []
    by_body: dict[Body, _Shown] = {}
    seen: set[NodeId] = set()
    folders = [candidate for candidate in candidates if candidate.state.kind is Kind.DIRECTORY]
    if folders:
        folders.sort(key=lambda candidate: seniority(candidate.state))
        shown.append(_Shown(folders[0], None, [candidate.state.id for candidate in folders[1:]]))
        candidates = [candidate for candidate in candidates if candidate.state.kind is not Kind.DIRECTORY]
    for candidate in sorted(candidates, key=_order, reverse=True) if len(candidates) > 1 else candidates:
        if candidate.state.id in seen:
            continue
        seen.add(candidate.state.id)
        body = _content(candidate.state)
        twin = by_body.get(body) if body is not None else None
        if twin is not None:
            twin.twins.append(candidate.state.id)
            continue
        shown.append(_Shown(candidate, body, []))
        if body is not None:
            by_body[body] = shown[-1]
    return shown


def _content(state: NodeState) -> Body | None:
    """Returns the content by which two files are the same to a person."""
    live = live_versions(state)
    return live[0].body if live else None


def _naming_version(state: NodeState) -> Version | None:
    live = live_versions(state)
    if live:
        return live[0]
    return max(state.versions.values(), key=lambda v: (v.stamp, v.dot), default=None)


def _copies(
    name: bytes, item: _Shown, candidates: Sequence[Candidate], used: set[bytes], free: Callable[[bytes], bool]
) -> list[SlotEntry]:
    """The concurrent versions of a shown node and of its twins, each content once."""
    if item.candidate.state.kind is Kind.DIRECTORY:
        return []
    entries: list[SlotEntry] = []
    bodies = {item.body}
    by_id = {c.state.id: c.state for c in candidates} if item.twins else {}
    for state in (item.candidate.state, *(by_id[twin] for twin in item.twins)):
        for version in live_versions(state)[1:]:
            if version.body in bodies:
                continue
            bodies.add(version.body)
            copy = _free_name(name, state.id, version, version.stamp, free)
            used.add(copy)
            entries.append(SlotEntry(copy, state.id, version.dot))
    return entries


def _free_name(name: bytes, node: NodeId, version: Version | None, stamp: Hlc, free: Callable[[bytes], bool]) -> bytes:
    device = version.device_name if version else ""
    dot = version.dot if version else Dot(AuthorId(node), 0)
    wall_ms = version.stamp.wall_ms if version else stamp.wall_ms
    for digits in (8, 16, 32, 64):
        candidate = conflict_name(name, device, wall_ms, dot, digits)
        if free(candidate):
            return candidate
    # Only one who lies about dots gets here: two nodes claim one version. The node's id tells them apart.
    return conflict_name(name, device, wall_ms, Dot(AuthorId(dot.author + node), dot.counter), 64)
