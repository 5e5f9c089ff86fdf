# SPDX-License-Identifier: GPL-3.0-or-later
"""Questions and orders to systemd's user manager, by `systemctl --user`."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import Final

from holofs_api.places import run_within
from holofsctl.errors import CommandError
from holofsctl.exit_codes import Exit
from holofsctl.output import safe

_ASK_S: Final = 20.0
_START_S: Final = 120.0
SYSTEMCTL: Final = ("systemctl", "--user")
LINGER: Final = ("loginctl", "enable-linger")


def answers() -> bool:
    # In a chroot `systemctl` says nothing and ends with 0, so the version has to be there.
    return bool(_asked("show", "--property=Version", "--value"))


def main_pid(unit: str) -> int:
    """Process of the unit's daemon; 0 if none runs."""
    told = _asked("show", "--property=MainPID", "--value", unit)
    return int(told) if told.isascii() and told.isdigit() else 0


def is_enabled(unit: str) -> bool:
    return _asked("is-enabled", unit) == "enabled"


def order(command: Sequence[str]) -> None:
    """Runs it. Raises CommandError with its last line where it fails."""
    code, told = run_within([*command], _START_S)
    if code == 0:
        return
    what = f"`{' '.join(command)}`"
    if code is None:
        raise CommandError(f"{what} did not end within {_START_S:.0f} s.", Exit.TIMED_OUT, "timed-out")
    lines = told.decode("utf-8", "replace").strip().splitlines() or ["it did not say why"]
    raise CommandError(f"{what} failed: {safe(lines[-1]).rstrip('.')}.", code="systemd-failed")


def lingers() -> bool:
    """Lets this user's services run without a login; whether that was allowed."""
    return shutil.which(LINGER[0]) is not None and run_within([*LINGER], _ASK_S)[0] == 0


def _asked(*words: str) -> str:
    if shutil.which(SYSTEMCTL[0]) is None:
        return ""
    code, told = run_within([*SYSTEMCTL, *words], _ASK_S)
    return told.decode("utf-8", "replace").strip() if code == 0 else ""
