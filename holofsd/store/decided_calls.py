# SPDX-License-Identifier: GPL-3.0-or-later
"""Journal numbers up to which the calls of each mount are decided: carried out, or failed for good (ADR 11)."""

from __future__ import annotations

from holofsd.store.database import Database


class DecidedCalls:
    """The table `journals`. A number is noted in the transaction that carries the call out."""

    def __init__(self, db: Database) -> None:
        self.db = db

    def up_to(self, journal: str) -> int:
        """Returns the number up to which all calls of a journal are decided; 0 if the journal is unknown."""
        return self.db.number("SELECT coalesce(max(applied), 0) FROM journals WHERE name=?", (journal,))

    def note(self, journal: str, number: int) -> None:
        """Notes that all calls of a journal up to this number are decided."""
        self.db.run(
            "INSERT INTO journals VALUES (?,?) ON CONFLICT (name) DO UPDATE SET applied=excluded.applied",
            (journal, number),
        )

    def journals(self) -> list[str]:
        """Lists the journals of which a number is noted."""
        return [row[0] for row in self.db.all("SELECT name FROM journals")]

    def forget(self, journal: str) -> None:
        """Deletes the number of a journal whose file is gone."""
        self.db.run("DELETE FROM journals WHERE name=?", (journal,))
