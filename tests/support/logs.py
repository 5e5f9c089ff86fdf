# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading the logs of a device: an unexpected warning, error or traceback fails the test that caused it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

BAD_LEVELS = {"warning", "error", "critical", "exception"}
LEVEL_IN_TEXT = re.compile(r"\[(warning|error|critical|exception) *\]|\b(WARNING|ERROR|CRITICAL)\b")
ANSI = re.compile(r"\x1b\[[0-9;]*m")
# What a log must never hold: tickets, whoever wrote them.
SECRET = re.compile(r"holofs1[a-z2-7]{40,}")


def complaints(files: Iterable[Path], allowed: Iterable[str] = ()) -> list[str]:
    """Lines that are warnings, errors or tracebacks and match none of the `allowed` expressions."""
    patterns = [re.compile(expression) for expression in allowed]
    found = []
    for file in files:
        for line in file.read_text(errors="replace").splitlines():
            text = ANSI.sub("", line)
            if _is_bad(text) and not any(pattern.search(text) for pattern in patterns):
                found.append(f"{file.name}: {text[:1000]}")
    return found


def secrets(files: Iterable[Path]) -> list[str]:
    return [file.name for file in files if SECRET.search(file.read_text(errors="replace"))]


def _is_bad(line: str) -> bool:
    if line.startswith("{"):
        try:
            record = json.loads(line)
        except ValueError:
            return "Traceback" in line
        level = str(record.get("level", "")).lower() if isinstance(record, dict) else ""
        return level in BAD_LEVELS
    return bool(LEVEL_IN_TEXT.search(line)) or line.startswith("Traceback (most recent call last)")
