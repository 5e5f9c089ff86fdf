# SPDX-License-Identifier: GPL-3.0-or-later
"""The ledger of a run: what was acknowledged, and what somebody who saw it replaced or removed (invariant I1).

Contents stand for versions: each write makes bytes that nothing else has. Empty content is not tracked.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from holofsd.codec.content import hash_bytes

if TYPE_CHECKING:
    from model.device import ModelDevice


@dataclass
class Ledger:
    devices: list[ModelDevice] = field(default_factory=list)
    contents: dict[bytes, bytes] = field(default_factory=dict)
    """Hash -> content of everything anybody ever put into a file."""
    acknowledged: dict[bytes, str] = field(default_factory=dict)
    """Hash -> who and where: it must be shown for ever..."""
    superseded: dict[bytes, str] = field(default_factory=dict)
    """... unless it is here: on the device of that step it was what the step replaced or removed."""
    taken_back: bool = False
    """Somebody refused held removals: what came back may stand where something new is by now."""
    written: int = 0

    def made(self, data: bytes) -> bytes:
        digest = hash_bytes(data)
        self.contents[digest] = data
        return digest

    def fresh(self, size: int) -> bytes:
        """New content of about that size."""
        self.written += 1
        mark = f"<{self.written}>".encode()
        return mark * max(1, size // len(mark))

    def acknowledge(self, data: bytes, where: str) -> None:
        if data:
            self.acknowledged[self.made(data)] = where

    def supersede(self, digest: bytes, where: str) -> None:
        self.superseded[digest] = where

    def lost(self, shown: set[bytes]) -> list[str]:
        """Versions that should be shown and are not."""
        return [
            f"{self.label(digest)} acknowledged by {where} is nowhere, and nobody who saw it replaced it"
            for digest, where in self.acknowledged.items()
            if digest not in shown and digest not in self.superseded
        ]

    def unknown(self, shown: set[bytes]) -> list[str]:
        """Contents that are shown though no program wrote them."""
        return [f"{digest.hex()[:8]} was never written" for digest in shown if digest not in self.contents]

    def label(self, digest: bytes) -> str:
        data = self.contents.get(digest)
        return f"{data[:24]!r}…({len(data)})" if data is not None else digest.hex()[:8]


EMPTY = hash_bytes(b"")
