# SPDX-License-Identifier: GPL-3.0-or-later
"""The FUSE binding that mounts of this installation use, asked of the mount's own program in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from typing import Final

from holofs_api import utf8

FALLBACK: Final = "fusepy"
"""Binding that is used where the faster one cannot be."""
_TIMEOUT_S: Final = 20.0


@dataclass(frozen=True, slots=True)
class FuseBinding:
    """`name` and `version` are empty where no binding can be used. `explanation`: one sentence, with the remedy."""

    name: str
    version: str
    explanation: str


def find() -> FuseBinding:
    command = [sys.executable, *utf8.MODE, "-m", "holofs_mount.bindings"]
    try:
        done = subprocess.run(command, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, timeout=_TIMEOUT_S)
        told = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return FuseBinding("", "", "The mount's program does not say which FUSE binding it uses: install HoloFS again.")
    return FuseBinding(told["binding"], told["version"], told["explanation"])
