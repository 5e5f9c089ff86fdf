# SPDX-License-Identifier: GPL-3.0-or-later
"""Single values by name: the table `meta`, which every database of ours has."""

from __future__ import annotations

from holofsd.store.database import Database


class WithMeta:
    """Base of a store. `set_meta` and `delete_meta` belong inside `db.transaction()`."""

    db: Database

    def meta(self, name: str) -> bytes | None:
        """Returns a stored value; None if there is none."""
        row = self.db.one("SELECT value FROM meta WHERE name=?", (name,))
        return row[0] if row else None

    def set_meta(self, name: str, value: bytes) -> None:
        """Stores a value in place of the one before."""
        self.db.run("INSERT OR REPLACE INTO meta VALUES (?,?)", (name, value))

    def delete_meta(self, name: str) -> None:
        """Deletes a stored value, if there is one."""
        self.db.run("DELETE FROM meta WHERE name=?", (name,))
