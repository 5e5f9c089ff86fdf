# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings of the daemon: read at the start, read again on request, and each applied as its row in the table says."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

import structlog

from holofs_api import settings_file
from holofs_api.setting_kinds import Value, as_plain
from holofs_api.settings import BY_KEY, Applies, FileValue, resolve
from holofs_api.settings_file import LAST_GOOD, SettingsFile
from holofsd.core.errors import BadConfiguration
from holofsd.rpc.settings_api import SettingsReply, SettingValue

_log = structlog.get_logger(__name__)

_KEY_FILE: Final = "device.key"
"""What every device has from its first start on."""

Apply = Callable[[], None]
"""Applies the value that a setting has now."""


class DeviceSettings:
    """Settings in use, and those that a file said since.

    `options` and `environment` are of this process and do not change. A bad file is never used; see `settings_file`.
    """

    def __init__(self, state: Path, options: Mapping[str, Value], environment: Mapping[str, str]) -> None:
        """Reads the file. Raises BadConfiguration for a bad variable, and for a bad file at a device's first start:
        no files wait for it then, and a default could be what its owner wanted to avoid."""
        self._state = state
        self._options = options
        self._environment = environment
        values, self._problems, self._has_copy = settings_file.usable(state)
        if self._problems and not self._has_copy and not (state / _KEY_FILE).exists():
            raise BadConfiguration(self._problems[0])
        self._latest, complaints = resolve(options, environment, values)
        if complaints:
            raise BadConfiguration(complaints[0])
        self._in_use = dict(self._latest)
        self._live: dict[str, Apply] = {}

    def text(self, key: str) -> str:
        """The value in use, of a setting that is a text."""
        value = self._in_use[key].value
        assert isinstance(value, str)
        return value

    def urls(self, key: str) -> tuple[str, ...]:
        """The value in use, of a setting that is a list."""
        value = self._in_use[key].value
        assert isinstance(value, tuple)
        return value

    def apply_with(self, key: str, apply: Apply) -> None:
        """Registers the function that applies a setting at once."""
        self._live[key] = apply

    def keep(self) -> None:
        """Copies the file as the last good one, or takes the copy away where there is no file. The caller holds the
        lock of the state directory."""
        file = settings_file.read(settings_file.path_of(self._state))
        if not file.problems:
            self._keep(file)
        for problem in self._problems:
            _log.warning("the settings file is not used", problem=problem)

    def _keep(self, file: SettingsFile) -> None:
        copy = self._state / LAST_GOOD
        try:
            if not file.exists:
                with suppress(FileNotFoundError):
                    copy.unlink()
            elif settings_file.read(copy).text != file.text:
                settings_file.write(copy, file.text)
        except OSError as error:
            _log.warning("the settings file cannot be copied", why=error.strerror)

    def reload(self) -> None:
        """Reads the file again. What can be applied at once is; a bad file changes nothing, and is told."""
        file = settings_file.read(settings_file.path_of(self._state))
        was_good, self._problems = not self._problems, file.problems
        if file.problems:
            self._has_copy |= was_good  # what is in use is as good as a copy
            return
        self._keep(file)
        self._take(file.values)

    def _take(self, values: Mapping[str, FileValue]) -> None:
        self._latest, _ = resolve(self._options, self._environment, values)
        for key, new in self._latest.items():
            is_changed = self._in_use[key].value != new.value
            if is_changed and BY_KEY[key].applies is Applies.NEXT_START:
                continue
            self._in_use[key] = new
            if is_changed:
                self._live.get(key, _nothing)()
                _log.info("a setting changed", setting=key, value=as_plain(new.value))

    # ---- for people
    def warnings(self) -> list[str]:
        """Sentences for `status`."""
        if not self._problems:
            return []
        instead = "The last good settings" if self._has_copy else "Its good settings, and defaults for the others,"
        return [f"{self._problems[0]} {instead} are in use until `holofsctl config edit` mends it."]

    def reply(self) -> SettingsReply:
        values = tuple(self._reply(key) for key in BY_KEY)
        return SettingsReply(str(settings_file.path_of(self._state)), values, self._problems)

    def _reply(self, key: str) -> SettingValue:
        used, latest = self._in_use[key], self._latest[key]
        waiting = "" if used.value == latest.value else json.dumps(as_plain(latest.value))
        return SettingValue(key, json.dumps(as_plain(used.value)), used.source.value, used.where, waiting)


def _nothing() -> None:
    pass
