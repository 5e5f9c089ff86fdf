# SPDX-License-Identifier: GPL-3.0-or-later
"""Comparison of the contents of a conflict, as a unified diff where both are text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import unified_diff
from typing import Any, Final

from holofs_api.v1 import control_pb2 as pb
from holofsctl.client import Client
from holofsctl.conflict_view import ConflictChoices, writer
from holofsctl.output import plain, safe, size

MOST: Final = 4 << 20
"""Bytes of each: beyond that a comparison by lines takes minutes and nobody reads it."""
_LOOKED_AT: Final = 8000
"""Bytes that are looked at, as many as git looks at to tell text from other things."""


@dataclass(frozen=True, slots=True)
class Comparison:
    conflict: ConflictChoices
    copy: pb.Alternative
    diff: tuple[str, ...] = ()
    explanation: str = ""
    """Reason why there is no diff."""

    def lines(self) -> list[str]:
        return [self.explanation] if self.explanation else list(self.diff)

    def plain(self) -> dict[str, Any]:
        return {
            "volume": self.conflict.volume,
            "path": plain(pb.Alternative(path=self.conflict.path))["path"],
            "shown": plain(self.conflict.choices[0]),
            "copy": plain(self.copy),
            "text": not self.explanation,
            "diff": "".join(f"{line}\n" for line in self.diff),
            "explanation": self.explanation,
        }


def compare(client: Client, conflict: ConflictChoices, copy: pb.Alternative, say: Callable[[str], None]) -> Comparison:
    """Compare what the name shows with the copy. Contents that are elsewhere are fetched; `say` tells of it."""
    shown = conflict.choices[0]
    both = (shown, copy)
    if any(choice.kind == "directory" for choice in both):
        return _not_compared(conflict, copy, "one of them is a directory")
    if any(choice.size > MOST for choice in both):
        return _not_compared(conflict, copy, f"they are too large to compare by lines (more than {size(MOST)})")
    before, after = (_content(client, conflict, choice, say) for choice in both)
    if any(b"\0" in content[:_LOOKED_AT] for content in (before, after)):
        return _not_compared(conflict, copy, "they are not text")
    old, new = _label(conflict.path, shown), _label(copy.path or conflict.path, copy)
    return Comparison(conflict, copy, tuple(_diff(before, after, old, new)))


def _not_compared(conflict: ConflictChoices, copy: pb.Alternative, why: str) -> Comparison:
    shown = conflict.choices[0]
    told = (
        f"{safe(conflict.path)}: {why}. That of {writer(shown)} has {size(shown.size)}, that of {writer(copy)}"
        f" {size(copy.size)}."
    )
    return Comparison(conflict, copy, explanation=told)


def _content(client: Client, conflict: ConflictChoices, choice: pb.Alternative, say: Callable[[str], None]) -> bytes:
    if not choice.here:
        say(f"The content of {safe(writer(choice))}'s is on other devices: fetching it.")
    request = pb.ReadAlternativeRequest(volume=conflict.volume, path=conflict.path, id=choice.id)
    return b"".join(reply.data for reply in client.stream("ReadAlternative", request))


def _label(path: bytes, choice: pb.Alternative) -> str:
    when = datetime.fromtimestamp(choice.written_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return f"{safe(path)}\t{when}, {safe(writer(choice))}"


def _diff(before: bytes, after: bytes, old: str, new: str) -> list[str]:
    lines: list[str] = []
    for number, line in enumerate(unified_diff(_lines(before), _lines(after), old, new, lineterm="")):
        lines.append(_shown(line.removesuffix("\n")))
        is_content = number > 1 and not line.startswith("@@")
        if is_content and not line.endswith("\n"):
            lines.append("\\ No newline at end of file")
    return lines


def _lines(content: bytes) -> list[str]:
    *whole, rest = content.decode("utf-8", "backslashreplace").split("\n")
    return [f"{line}\n" for line in whole] + ([rest] if rest else [])


def _shown(line: str) -> str:
    """Escape everything that a terminal would obey."""
    return "\t".join(safe(part) for part in line.split("\t"))
