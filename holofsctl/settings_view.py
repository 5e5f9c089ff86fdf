# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings as a person sees them: each with its value and where it is from, as the daemon has it or as it would be."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from holofs_api import settings_file
from holofs_api.setting_kinds import Value, as_plain, as_text
from holofs_api.settings import BY_KEY, Setting, SettingSource, resolve
from holofs_api.v1 import control_pb2 as pb
from holofsctl.errors import CommandError
from holofsctl.exit_codes import Exit
from holofsctl.session import CommandSession

_TOO_OLD: Final = "grpc-unimplemented"


@dataclass(frozen=True, slots=True)
class ShownSetting:
    """`value` is in use; `waiting` is what follows it when the daemon starts again (the same, if nothing waits)."""

    setting: Setting
    value: Value
    source: SettingSource
    where: str
    waiting: Value

    @property
    def is_waiting(self) -> bool:
        return self.waiting != self.value

    def plain(self) -> dict[str, Any]:
        """The setting as JSON data."""
        return {
            "key": self.setting.key,
            "value": as_plain(self.value),
            "source": self.source.value,
            "where": int(self.where) if self.source is SettingSource.FILE else self.where or None,
            "waiting": as_plain(self.waiting) if self.is_waiting else None,
            "default": as_plain(self.setting.default),
            "allowed": self.setting.kind.allowed,
            "applies": self.setting.applies.name.lower().replace("_", "-"),
            "variables": [*self.setting.variables],
            "option": self.setting.option,
        }

    def lines(self) -> list[str]:
        """The value alone; one line for each of a list."""
        return [*self.value] if isinstance(self.value, tuple) else [as_text(self.value)]

    def row(self, path: Path) -> tuple[str, str, str]:
        origin = (
            f"{path.name}, line {self.where}" if self.source is SettingSource.FILE else self.where or self.source.value
        )
        text = as_text(self.value) or f"({self.setting.unset})"
        if self.is_waiting:
            text += f" (then {as_text(self.waiting) or self.setting.unset})"
        return self.setting.key, origin, text


@dataclass(frozen=True, slots=True)
class SettingsView:
    path: Path
    settings: tuple[ShownSetting, ...]
    problems: tuple[str, ...]

    def of(self, setting: Setting) -> ShownSetting:
        return next(shown for shown in self.settings if shown.setting is setting)


def told_by_daemon(session: CommandSession, *, reload: bool = False) -> SettingsView | None:
    """Settings of the daemon that runs; None if none does, or one that is older than this call.

    `reload`: it reads the file first.
    """
    try:
        reply = session.call("Settings", pb.SettingsRequest(reload=reload))
    except CommandError as error:
        if error.exit_code == Exit.NOT_RUNNING or error.code == _TOO_OLD:
            return None
        raise
    shown = tuple(_shown(value) for value in reply.settings if value.key in BY_KEY)
    return SettingsView(Path(reply.path), shown, tuple(reply.problems))


def _shown(told: pb.SettingValue) -> ShownSetting:
    setting = BY_KEY[told.key]
    value = _value(told.value)
    waiting = _value(told.waiting) if told.waiting else value
    return ShownSetting(setting, value, SettingSource(told.source), told.where, waiting)


def _value(told: str) -> Value:
    value = json.loads(told)
    if isinstance(value, list):
        return tuple(map(str, value))
    return float(value) if isinstance(value, int | float) else str(value)


def told_here(state: Path) -> SettingsView:
    """Settings that a daemon would have which is started from here. Bad variables are among the problems."""
    values, problems, _ = settings_file.usable(state)
    found, complaints = resolve({}, os.environ, values)
    shown = tuple(ShownSetting(BY_KEY[key], e.value, e.source, e.where, e.value) for key, e in found.items())
    return SettingsView(settings_file.path_of(state), shown, (*problems, *complaints))
