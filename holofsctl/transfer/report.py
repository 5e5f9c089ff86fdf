# SPDX-License-Identifier: GPL-3.0-or-later
"""Count of what an import or export did, and of what it left out, each named as it happens."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from holofs_api.words import count
from holofsctl.output import safe, size

_MOST_LISTED: Final = 1_000
"""Problems that are in the JSON document; all of them are counted."""
HOW: Final = ("moved", "cloned", "copied")


@dataclass(slots=True)
class TransferReport:
    """Numbers of names and bytes. `how`: files whose content was moved, cloned or copied to its place."""

    say: Callable[[str], None]
    files: int = 0
    folders: int = 0
    symlinks: int = 0
    links: int = 0
    content_bytes: int = 0
    same: int = 0
    verified: int = 0
    removed: int = 0
    how: dict[str, int] = field(default_factory=lambda: dict.fromkeys(HOW, 0))
    problems: int = 0
    listed: list[dict[str, str]] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        """Returns whether nothing was done, and nothing looked at."""
        return not (self.files or self.folders or self.symlinks or self.links or self.same or self.problems)

    def problem(self, path: bytes, why: str) -> None:
        """Names one thing that is left out, or not as it should be."""
        self.problems += 1
        if len(self.listed) < _MOST_LISTED:
            self.listed.append({"path": path.decode("utf-8", "surrogateescape"), "why": why})
        self.say(f"{safe(path)}: {why}.")

    def plain(self, volume: str, path: bytes, folder: str) -> dict[str, Any]:
        return {
            "volume": volume,
            "path": os.fsdecode(path),
            "folder": folder,
            "files": self.files,
            "folders": self.folders,
            "symlinks": self.symlinks,
            "links": self.links,
            "bytes": self.content_bytes,
            "same": self.same,
            "verified": self.verified,
            "removed": self.removed,
            **self.how,
            "problem_count": self.problems,
            "problems": self.listed,
        }

    def sentence(self, did: str) -> str:
        """Sums all of it up in a sentence. `did`: for example "imported"."""
        parts = [count(self.files, "file"), count(self.folders, "folder")]
        parts += [count(self.symlinks, "symlink")] if self.symlinks else []
        parts += [count(self.links, "further name")] if self.links else []
        how = ", ".join(f"{number:,} {word}" for word, number in self.how.items() if number)
        told = f"{', '.join(parts)} {did}, {size(self.content_bytes)}{f' ({how})' if how else ''}"
        same = f"; {self.same:,} there already" if self.same else ""
        checked = f"; {self.verified:,} verified" if self.verified else ""
        left = f"; {count(self.problems, 'problem')}" if self.problems else ""
        return f"{told}{same}{checked}{left}."
