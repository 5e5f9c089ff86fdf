# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules for the name of a device: one line of text, which becomes part of the names of conflict copies."""

from __future__ import annotations

import re
from typing import Final

MAX_DEVICE_NAME: Final = 64
"""Characters."""
_ID_PREFIX: Final = re.compile(r"[0-9a-f]{8,}", re.IGNORECASE)
"""As commands take a device's id: its first eight digits, or more."""


def complaint_about(name: str) -> str:
    """Returns a sentence that says why a device cannot have this name; empty where it can."""
    if not name:
        return "A device needs a name."
    if len(name) > MAX_DEVICE_NAME:
        return f"A device's name has at most {MAX_DEVICE_NAME} characters."
    if not name.isprintable() or "/" in name or name != name.strip():
        return "A device's name is one line of text without slashes, and does not begin or end with a space."
    if name.startswith("-") or name in (".", "..") or _ID_PREFIX.fullmatch(name):
        return f"A device cannot be called {name!r}: it would be mistaken for something else."
    return ""


def fitting_name(told: str) -> str:
    """A name like `told`, which may be anything: what a machine is called."""
    plain = "".join(c for c in told if c.isprintable() and c != "/").strip()[:MAX_DEVICE_NAME].strip() or "device"
    if complaint_about(plain):  # a container's: twelve digits of its id
        return f"device-{plain}"[:MAX_DEVICE_NAME].strip()
    return plain
