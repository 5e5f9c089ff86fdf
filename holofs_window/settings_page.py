# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings for the page: every row of the table of settings with its value in use, and one change at a time.

A change is made by `holofsctl config`, which checks it, keeps the comments of the file and tells the daemon.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from holofs_api import utf8
from holofs_api.setting_kinds import OneOf, as_plain
from holofs_api.settings import BY_KEY, Setting
from holofs_api.v1 import control_pb2 as pb
from holofs_window.control_client import CallFailed, ControlClient

_CHANGE_S: Final = 60.0


async def listed(daemon: ControlClient) -> dict[str, Any]:
    """Every setting, for the page. Raises CallFailed."""
    reply = await daemon.call("Settings", pb.SettingsRequest())
    rows = [_row(BY_KEY[value.key], value) for value in reply.settings if value.key in BY_KEY]
    return {"path": reply.path, "problems": [*reply.problems], "settings": rows}


def _row(setting: Setting, value: pb.SettingValue) -> dict[str, Any]:
    return {
        "key": setting.key,
        "help": setting.help,
        "more": setting.more,
        "unset": setting.unset,
        "allowed": setting.kind.allowed,
        "choices": [*setting.kind.words] if isinstance(setting.kind, OneOf) else [],
        "default": as_plain(setting.default),
        "applies": setting.applies.value,
        "value": json.loads(value.value),
        "source": value.source,
        "where": value.where,
        "waiting": json.loads(value.waiting) if value.waiting else None,
    }


async def change(state: Path, key: str, value: str | None) -> None:
    """Writes a value into the settings file, or with None takes it out. Raises CallFailed with a sentence."""
    if key not in BY_KEY:
        raise CallFailed("bad-argument", "There is no such setting.")
    if value is not None and (not value or value.startswith("-") or "\0" in value):
        raise CallFailed("bad-argument", f"The value of {key} can be {BY_KEY[key].kind.allowed}.")
    words = ["config", "unset", key] if value is None else ["config", "set", key, value]
    command = [sys.executable, *utf8.MODE, "-m", "holofsctl.main", "--state-dir", str(state), "--json", *words]
    process = await asyncio.create_subprocess_exec(
        *command, cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        async with asyncio.timeout(_CHANGE_S):
            _, told = await process.communicate()
    except TimeoutError:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        raise CallFailed("timed-out", "The setting was not changed in time: try again.") from None
    if process.returncode:
        raise _failure(told)


def _failure(told: bytes) -> CallFailed:
    """The error that `holofsctl --json` tells in its last line."""
    lines = told.decode("utf-8", "replace").splitlines()
    try:
        error = json.loads(lines[-1])["error"]
        return CallFailed(str(error["code"]), str(error["message"]))
    except (ValueError, LookupError, TypeError):
        return CallFailed("failed", "The setting was not changed; `holofsctl config list` may say why.")
