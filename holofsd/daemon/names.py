# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules for names of volumes and devices: one line, no slash, and never mistaken for an option or an id."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from difflib import get_close_matches
from typing import Final

from holofs_api import device_names
from holofsd.core.errors import BadArgument

MAX_NAME: Final = 100
"""Characters; the sync layer's limit is 200."""
_ID: Final = re.compile(r"[0-9a-f]{64}")


def check_volume_name(name: str) -> str:
    """The name, or BadArgument with one sentence that says what is wrong with it."""
    if not name:
        raise BadArgument("A volume needs a name.")
    if len(name) > MAX_NAME:
        raise BadArgument(f"A volume's name has at most {MAX_NAME} characters.")
    if not name.isprintable() or "/" in name or name != name.strip():
        raise BadArgument(
            "A volume's name is one line of text without slashes, and does not begin or end with a space."
        )
    if name.startswith("-") or name in (".", "..") or _ID.fullmatch(name):
        raise BadArgument(f"A volume cannot be called {name!r}: it would be mistaken for something else.")
    return name


def check_device_name(name: str) -> str:
    """The name, or BadArgument with one sentence that says what is wrong with it. It becomes part of files' names."""
    if complaint := device_names.complaint_about(name):
        raise BadArgument(complaint)
    return name


def did_you_mean(told: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """A question to put behind a sentence, with a space before it; empty where nothing is near."""
    near = get_close_matches(told, [*dict.fromkeys(known)], n=1, cutoff=cutoff)
    return f" Did you mean {near[0]!r}?" if near else ""


def free_name(wanted: str, taken: Collection[str]) -> str:
    """A name like `wanted` (what somebody else calls it, so anything) that can be used here: `docs`, `docs-2`, ..."""
    plain = "".join(c if c.isprintable() and c != "/" else "-" for c in wanted).strip()[: MAX_NAME - 6].strip()
    try:
        name = check_volume_name(plain)
    except BadArgument:
        name = "volume"
    number = 1
    candidate = name
    while candidate in taken:
        number += 1
        candidate = f"{name}-{number}"
    return candidate
