# SPDX-License-Identifier: GPL-3.0-or-later
"""Counts of what members said that cannot be true, by who said it: evidence for a person, shown by `status`.

A lie is refused where it is found; here it is only counted. Counts are in memory and written rarely: a flood of lies
costs neither a flood of writes nor memory without bound. A crash loses what was counted in the last `WRITE_EVERY_MS`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import structlog

from holofsd.store.database import Database

log = structlog.get_logger(__name__)

MAX_ROWS: Final = 1024
"""Liars times kinds of lies. What is beyond is counted together, of nobody in particular."""

NOBODY: Final = b""
MORE_LIES: Final = "said more that cannot be true"
WRITE_EVERY_MS: Final = 10_000
MAX_EXAMPLE: Final = 200
"""Characters."""


@dataclass(frozen=True, slots=True)
class Lie:
    """Count of one kind of untrue statement by one device (its node key) or author. `who` is NOBODY beyond MAX_ROWS,
    and where the liar may be one of several."""

    who: bytes
    what: str
    """What it did, in the past tense, to go on after its name: "gave other content to a version of another device"."""
    count: int
    first_ms: int
    last_ms: int
    example: str
    """The last one: of which file, of which version, with which number. From outside."""


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


class Lies:
    """`note` may be called inside and outside of a transaction. Set `now_ms` where time is not the system's."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self.now_ms: Callable[[], int] = _wall_ms
        rows = db.all("SELECT who, what, number, first_ms, last_ms, example FROM lies")
        self._known: dict[tuple[bytes, str], Lie] = {(row[0], row[1]): Lie(*row) for row in rows}
        self._unwritten: set[tuple[bytes, str]] = set()
        self._written_ms = 0
        self._is_due = False
        db.on_rollback.append(self._rolled_back)

    def note(self, device_or_author: bytes, what: str, detail: str, number: int = 1) -> None:
        """Counts one more lie, or `number`. `what` is one of few constant phrases (see `Lie`), never from outside."""
        key = (device_or_author, what)
        known = self._known.get(key)
        if known is None and len(self._known) >= MAX_ROWS:
            key = (NOBODY, MORE_LIES)
            known = self._known.get(key)
        now_ms = self.now_ms()
        detail = detail[:MAX_EXAMPLE]
        if known is None:
            log.warning("a device was caught in a lie, which was refused", who=key[0].hex()[:8], what=what, of=detail)
            self._known[key] = Lie(*key, number, now_ms, now_ms, detail)
        else:
            self._known[key] = replace(known, count=known.count + number, last_ms=now_ms, example=detail)
        self._unwritten.add(key)
        if known is None or not 0 <= now_ms - self._written_ms < WRITE_EVERY_MS:
            self._write_with_the_transaction()

    def all(self) -> list[Lie]:
        """The newest first."""
        return sorted(self._known.values(), key=lambda lie: (-lie.last_ms, lie.who, lie.what))

    def save(self) -> None:
        """Writes what is not written yet."""
        if self._unwritten:
            with self.db.transaction():
                self._write()

    def _write_with_the_transaction(self) -> None:
        if not self.db.in_transaction:
            self.save()
        elif not self._is_due:
            self._is_due = True
            self.db.before_commit(self._write)

    def _write(self) -> None:
        self._is_due = False
        written, self._unwritten = self._unwritten, set()
        self.db.run_many(
            "INSERT OR REPLACE INTO lies (who, what, number, first_ms, last_ms, example) VALUES (?,?,?,?,?,?)",
            [
                (lie.who, lie.what, lie.count, lie.first_ms, lie.last_ms, lie.example)
                for lie in (self._known[key] for key in sorted(written))
            ],
        )
        self._written_ms = self.now_ms()

    def _rolled_back(self) -> None:
        """Marks all counts as unwritten after a failed transaction. The lie was told even though the transaction that
        noticed it failed, so it is written another time."""
        self._is_due = False
        self._written_ms = 0
        self._unwritten = set(self._known)
