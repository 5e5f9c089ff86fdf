# SPDX-License-Identifier: GPL-3.0-or-later
"""Numbers of things in sentences, for the daemon's messages and for `holofsctl`."""

from __future__ import annotations


def count(number: int, thing: str, things: str = "") -> str:
    """`1 file`, `2,000 files`."""
    return f"{number:,} {thing if number == 1 else things or thing + 's'}"
