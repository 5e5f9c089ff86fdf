# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings of a mount: from its command line, its environment, and the settings file of the device.

Nothing that is wrong with them keeps a mount from being made: what is bad is passed over, and told in the log.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from holofs_api.paths import state_dir
from holofs_api.setting_kinds import Value
from holofs_api.settings import FileValue, resolve
from holofs_api.settings_file import usable
from holofs_api.state_directory import StateDirError


@dataclass(frozen=True, slots=True)
class MountSettings:
    """Settings that a mount begins with. `complaints`: sentences about what was passed over."""

    log: str
    binding: str
    patience: float
    """Seconds that operations wait for a daemon that is away."""
    watching: bool
    """Programs that watch a folder hear of changes from elsewhere."""
    complaints: tuple[str, ...]


def read_settings(
    told_state: str | None, options: Mapping[str, Value], environment: Mapping[str, str]
) -> MountSettings:
    """Settings of a mount of the device with this state directory."""
    values: Mapping[str, FileValue] = {}
    problems: tuple[str, ...] = ()
    with suppress(StateDirError):  # said where the device is looked for
        values, problems, _ = usable(state_dir(told_state))
    found, complaints = resolve(options, environment, values)
    patience = found["mount.patience"].value
    assert isinstance(patience, float)
    return MountSettings(
        str(found["mount.log"].value),
        str(found["mount.binding"].value),
        patience,
        found["mount.watching"].value == "on",
        (*problems, *complaints),
    )
