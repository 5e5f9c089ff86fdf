# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows about the past: replaced versions, ended places, purged trash, and content that nothing was found to need."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from holofsd.core.ids import BlobHash, Ino, NodeId
from holofsd.store.aliases import Aliases
from holofsd.store.database import Database
from holofsd.store.families import Families


@dataclass(frozen=True, slots=True)
class HistoryRow:
    """A replaced version; see volume_formats for each column."""

    node: NodeId
    dot: bytes
    began_ms: int
    ended_ms: int
    size: int
    blob: BlobHash | None
    version: bytes


@dataclass(frozen=True, slots=True)
class PastPlaceRow:
    node: NodeId
    parent: NodeId
    name: bytes
    from_ms: int
    until_ms: int


@dataclass(frozen=True, slots=True)
class SettingsRow:
    """Modes, extended attributes and times that ended; see volume_formats for each column."""

    node: NodeId
    until_ms: int
    settings: bytes
    dot: bytes
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class HistoryCounts:
    """`bytes`: the sizes of replaced versions that are on this device, each content once."""

    versions: int
    bytes: int


NOW: Final = 1 << 62
"""The end of what has not ended."""

_HISTORY = "node, dot, began_ms, ended_ms, size, blob, version"
_PLACES = "node, parent, name, from_ms, until_ms"
_SETTINGS = "node, until_ms, settings, dot, mtime_ns"
_THINNED = (("history", "ended_ms"), ("past_settings", "until_ms"))
_ENDS = (*_THINNED, ("past_places", "until_ms"))


class HistoryStore:
    """All writes belong inside `db.transaction()`."""

    def __init__(self, db: Database, aliases: Aliases) -> None:
        self.db = db
        self.families = Families(db, aliases)

    # ---- recording
    def add(
        self, versions: Sequence[HistoryRow], places: Sequence[PastPlaceRow], settings: Sequence[SettingsRow] = ()
    ) -> None:
        if versions:
            self.db.run_many(
                f"INSERT OR IGNORE INTO history ({_HISTORY}) VALUES (?,?,?,?,?,?,?)",
                [(r.node, r.dot, r.began_ms, r.ended_ms, r.size, r.blob, r.version) for r in versions],
            )
        if places:
            self.db.run_many(
                f"INSERT INTO past_places ({_PLACES}) VALUES (?,?,?,?,?)",
                [(r.node, r.parent, r.name, r.from_ms, r.until_ms) for r in places],
            )
        if settings:
            self.db.run_many(
                f"INSERT INTO past_settings ({_SETTINGS}) VALUES (?,?,?,?,?)",
                [(r.node, r.until_ms, r.settings, r.dot, r.mtime_ns) for r in settings],
            )

    # ---- versions
    def of_node(self, node: NodeId) -> list[HistoryRow]:
        """Newest first."""
        rows = self.db.all(f"SELECT {_HISTORY} FROM history WHERE node=? ORDER BY began_ms DESC, id DESC", (node,))
        return [HistoryRow(*row) for row in rows]

    def without_content(self) -> list[HistoryRow]:
        """Lists the rows that name no content and say more bytes than their version can contain."""
        sql = f"SELECT {_HISTORY} FROM history WHERE blob IS NULL AND size>length(version) ORDER BY id"
        return [HistoryRow(*row) for row in self.db.all(sql)]

    def drop_version(self, node: NodeId, dot: bytes) -> None:
        self.db.run("DELETE FROM history WHERE node=? AND dot=?", (node, dot))

    def counts(self) -> HistoryCounts:
        found: dict[str, int] = dict(self.db.all("SELECT name, value FROM past_sizes"))
        return HistoryCounts(found["versions"], found["history"])

    # ---- places
    def places_of(self, node: NodeId) -> list[PastPlaceRow]:
        """Newest first."""
        rows = self.db.all(f"SELECT {_PLACES} FROM past_places WHERE node=? ORDER BY until_ms DESC, id DESC", (node,))
        return [PastPlaceRow(*row) for row in rows]

    def places_named(self, parent: NodeId, name: bytes) -> list[PastPlaceRow]:
        """Newest first; also in directories that are shown as one with this one, and removed ones of its name."""
        rows = [
            PastPlaceRow(*row)
            for directory in self.families.now(parent)
            for row in self.db.all(
                f"SELECT {_PLACES} FROM past_places WHERE parent=? AND name=? ORDER BY until_ms DESC, id DESC",
                (directory, name),
            )
        ]
        return sorted(rows, key=lambda row: row.until_ms, reverse=True)

    def stays(self, parent: NodeId, name: bytes) -> list[PastPlaceRow]:
        """Every node that has this name in this very directory, or had it; those that have it end NOW."""
        has = f"SELECT node, ?1, name, stamp, {NOW} FROM placements"
        rows = self.db.all(
            f"SELECT {_PLACES} FROM past_places WHERE parent=?1 AND name=?2"
            f" UNION ALL {has} WHERE parent=?1 AND real IS NULL AND name=?2"
            f" UNION ALL {has} WHERE real=?1 AND name=?2",
            (parent, name),
        )
        return [PastPlaceRow(row[0], row[1], row[2], _wall_ms(row[3]), row[4]) for row in rows]

    def placed_in(self, parent: NodeId, at_ms: int, name: bytes | None = None) -> list[tuple[NodeId, bytes, int]]:
        """(node, name, since) of what was in a directory at that time, or at one name of it, there still or not; also
        of what was in those that were shown as one with it."""
        return [row for each in self.families.then(parent, at_ms) for row in self._placed_in(each, at_ms, name)]

    def _placed_in(self, parent: NodeId, at_ms: int, name: bytes | None) -> list[tuple[NodeId, bytes, int]]:
        values: tuple[bytes, ...] = (parent,) if name is None else (parent, name)
        only = "" if name is None else " AND name=?2"
        past = self.db.all(
            f"SELECT node, name, from_ms FROM past_places WHERE parent=?1{only} AND from_ms<={at_ms:d}"
            f" AND until_ms>{at_ms:d}",
            values,
        )
        now = self.db.all(
            f"SELECT node, name, stamp FROM placements WHERE parent=?1 AND real IS NULL{only}"
            f" UNION ALL SELECT node, name, stamp FROM placements WHERE real=?1{only}",
            values,
        )
        present = ((row[0], row[1], int.from_bytes(row[2][:8], "big")) for row in now)
        return [(row[0], row[1], row[2]) for row in past] + [row for row in present if row[2] <= at_ms]

    def names_changed_ms(self, parent: NodeId, at_ms: int) -> int:
        """Returns when a name last came to a directory or left it, up to that time; 0 if never, as far as it is
        known."""
        return max(self._names_changed_ms(each, at_ms) for each in self.families.then(parent, at_ms))

    def _names_changed_ms(self, parent: NodeId, at_ms: int) -> int:
        row = self.db.one(
            "SELECT max(t) FROM (SELECT max(from_ms) AS t FROM past_places WHERE parent=?1 AND from_ms<=?2"
            " UNION ALL SELECT max(until_ms) FROM past_places WHERE parent=?1 AND until_ms<=?2)",
            (parent, at_ms),
        )
        now = self.db.one(
            "SELECT max(stamp) FROM placements WHERE parent=? AND stamp<?", (parent, (at_ms + 1).to_bytes(8, "big"))
        )
        return max(row[0] or 0 if row else 0, int.from_bytes(now[0][:8], "big") if now and now[0] else 0)

    def last_in(self, parent: NodeId) -> list[PastPlaceRow]:
        """Every past place in a directory, oldest first; also in those of `places_named`."""
        rows = [
            PastPlaceRow(*row)
            for directory in self.families.now(parent)
            for row in self.db.all(
                f"SELECT {_PLACES} FROM past_places WHERE parent=? ORDER BY until_ms, id", (directory,)
            )
        ]
        return sorted(rows, key=lambda row: row.until_ms)

    # ---- settings
    def settings_after(self, node: NodeId, at_ms: int) -> list[SettingsRow]:
        """Lists the settings that ended after that time, the earliest first: what the node had then, unless it has it
        still."""
        rows = self.db.all(
            f"SELECT {_SETTINGS} FROM past_settings WHERE node=? AND until_ms>? ORDER BY until_ms, id", (node, at_ms)
        )
        return [SettingsRow(*row) for row in rows]

    # ---- open files of the past
    def past_inode(self, ino: Ino) -> tuple[int, NodeId, bytes] | None:
        """(time, node, name) of an inode that `keep_past_inode` was told of."""
        row = self.db.one("SELECT at_ms, node, name FROM past_inodes WHERE ino=?", (ino,))
        return (row[0], row[1], row[2]) if row else None

    def past_inodes(self) -> list[Ino]:
        return [row[0] for row in self.db.all("SELECT ino FROM past_inodes")]

    def past_nodes(self) -> set[NodeId]:
        return {row[0] for row in self.db.all("SELECT node FROM past_inodes")}

    def keep_past_inode(self, ino: Ino, at_ms: int, node: NodeId, name: bytes) -> None:
        self.db.run("INSERT OR IGNORE INTO past_inodes VALUES (?,?,?,?)", (ino, at_ms, node, name))

    def forget_past_inodes(self, inos: Iterable[Ino]) -> None:
        self.db.run_many("DELETE FROM past_inodes WHERE ino=?", [(ino,) for ino in inos])

    # ---- trash
    def gone_nodes(self, after: NodeId, limit: int) -> list[tuple[NodeId, bytes]]:
        """(node, state) of nodes without a name, in order of id; those that were purged are left out."""
        rows = self.db.all(
            "SELECT node, state FROM nodes WHERE visible=0 AND node>? AND length(state)>0"
            " AND node NOT IN (SELECT node FROM trash_purged) ORDER BY node LIMIT ?",
            (after, limit),
        )
        return [(row[0], row[1]) for row in rows]

    def purge_node(self, node: NodeId, now_ms: int) -> None:
        """Forgets the removed versions of a node and all that they had replaced."""
        self.db.run("INSERT OR IGNORE INTO trash_purged VALUES (?,?)", (node, now_ms))
        self.db.run("DELETE FROM history WHERE node=?", (node,))
        self.db.run("DELETE FROM past_places WHERE node=?", (node,))
        self.db.run("DELETE FROM past_settings WHERE node=?", (node,))
        self.db.run("DELETE FROM trash_content WHERE node=?", (node,))

    def is_purged(self, node: NodeId) -> bool:
        return self.db.one("SELECT 1 FROM trash_purged WHERE node=?", (node,)) is not None

    def purged_after(self, after: NodeId, limit: int) -> list[NodeId]:
        """Nodes that this device keeps nothing of, in order of id."""
        rows = self.db.all("SELECT node FROM trash_purged WHERE node>? ORDER BY node LIMIT ?", (after, limit))
        return [row[0] for row in rows]

    def purged_count(self) -> int:
        return self.db.number("SELECT count(*) FROM trash_purged")

    def forget_purged(self, node: NodeId) -> None:
        """Deletes the note that a node was purged, when no record knows the node any more."""
        self.db.run("DELETE FROM trash_purged WHERE node=?", (node,))

    def lives_again(self, nodes: Iterable[NodeId]) -> None:
        gone = [(node,) for node in nodes]
        self.db.run_many("DELETE FROM trash_purged WHERE node=?", gone)
        self.db.run_many("DELETE FROM let_go WHERE node=?", gone)

    # ---- policy: each of these removes `limit` rows at most and says how many
    def purge_before(self, end_ms: int, limit: int) -> int:
        """Versions replaced, places left and settings changed before that time."""
        gone = 0
        for table, column in _ENDS:
            gone += self.db.run(
                f"DELETE FROM {table} WHERE id IN (SELECT id FROM {table} WHERE {column}<? LIMIT ?)", (end_ms, limit)
            ).rowcount
        self.db.run("DELETE FROM let_go WHERE removed_ms<?", (end_ms,))
        return gone

    def thin(self, start_ms: int, end_ms: int, limit: int) -> int:
        """Thins out what was replaced in [start, end): of the versions of a node the last one stays, and the same for
        its settings. Returns how many rows went."""
        gone = 0
        for table, end in _THINNED:
            gone += self.db.run(
                f"DELETE FROM {table} WHERE id IN (SELECT h.id FROM {table} AS h WHERE h.{end}>=?1 AND h.{end}<?2"
                f" AND EXISTS (SELECT 1 FROM {table} AS later WHERE later.node=h.node AND later.{end}<?2"
                f" AND (later.{end}, later.id)>(h.{end}, h.id)) LIMIT ?3)",
                (start_ms, end_ms, limit),
            ).rowcount
        return gone

    def begins_ms(self) -> int | None:
        """Earliest end of anything in history; None if it is empty."""
        return self._first_end(_ENDS)

    def oldest_ms(self) -> int | None:
        """Earliest end of what is thinned out; None if there is nothing."""
        return self._first_end(_THINNED)

    def _first_end(self, tables: Sequence[tuple[str, str]]) -> int | None:
        each = " UNION ".join(f"SELECT min({end}) AS t FROM {table}" for table, end in tables)
        row = self.db.one(f"SELECT min(t) FROM ({each})")
        return row[0] if row else None


def _wall_ms(since: int | bytes) -> int:
    """Wall clock time in ms of a time or a stored stamp."""
    return since if isinstance(since, int) else int.from_bytes(since[:8], "big")
