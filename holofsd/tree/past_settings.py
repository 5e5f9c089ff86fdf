# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings of a node in the past, besides content: its mode, its extended attributes, its time of modification."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from holofsd.codec.records import decode_local_state
from holofsd.core.node import live_xattrs
from holofsd.core.project import token
from holofsd.core.state import Kind, NodeState, Version
from holofsd.store.history import HistoryStore, SettingsRow

_DEFAULT_MODE: Final = {Kind.FILE: 0o644, Kind.DIRECTORY: 0o755, Kind.SYMLINK: 0o777}


@dataclass(frozen=True, slots=True)
class Settings:
    mode: int
    xattrs: Mapping[bytes, bytes]
    mtime_ns: int


def settings_at(history: HistoryStore, state: NodeState, version: Version | None, at_ms: int) -> Settings:
    """`version`: what a file or symlink had then; None for directories."""
    ended = history.settings_after(state.id, at_ms)
    then = decode_local_state(ended[0].settings) if ended else state
    mode = then.mode.value if then.mode is not None else _DEFAULT_MODE[state.kind]
    xattrs = live_xattrs(then)
    if version is not None:
        return Settings(mode, xattrs, _mtime_of_version(version, ended))
    return Settings(mode, xattrs, _mtime_of_directory(history, state, then, at_ms))


def _mtime_of_version(version: Version, ended: Sequence[SettingsRow]) -> int:
    dot = token(version.dot)
    return next((row.mtime_ns for row in ended if row.dot == dot), version.mtime.value)


def _mtime_of_directory(history: HistoryStore, state: NodeState, then: NodeState, at_ms: int) -> int:
    """Returns a directory's time of modification at that time. As for the present, it is when a name in it last
    changed, unless a program set the time since."""
    changed_ms = history.names_changed_ms(state.id, at_ms)
    if then.times is not None and changed_ms <= then.times.stamp.wall_ms <= at_ms:
        return then.times.value
    return changed_ms * 1_000_000 or state.created_ns
