# SPDX-License-Identifier: GPL-3.0-or-later
"""Removals from elsewhere: those that the brake holds, and those that were merged lately."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from holofsd.core.ids import AuthorId, NodeId
from holofsd.core.losses import Missed
from holofsd.store.database import Database


@dataclass(frozen=True, slots=True)
class HeldRow:
    """A record in the document that is not merged; see volume_formats for each column."""

    node: NodeId
    author: AuthorId
    seq: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class HeldCounts:
    """Nodes whose removal is held and that are shown; `since_ms` is when the first of them came, 0 if none is."""

    files: int
    directories: int
    since_ms: int


@dataclass(frozen=True, slots=True)
class RecentRemoval:
    """A removal that was merged; see volume_formats for each column."""

    node: NodeId
    author: AuthorId
    file: bool
    born_ms: int
    counts: Missed
    repository: NodeId | None


class Removals:
    """All writes belong inside `db.transaction()`."""

    def __init__(self, db: Database) -> None:
        self.db = db

    # ---- held
    def hold(self, row: HeldRow, now_ms: int, born_ms: int) -> None:
        """`born_ms`: since when the node stood here, 0 for long."""
        self.db.run(
            "INSERT INTO held_removals (node, author, seq, payload, since_ms, born_ms) VALUES (?,?,?,?,?,?)"
            " ON CONFLICT (node, author) DO UPDATE SET seq=excluded.seq, payload=excluded.payload",
            (row.node, row.author, row.seq, row.payload, now_ms, born_ms),
        )

    def held_nodes(self) -> set[NodeId]:
        return {row[0] for row in self.db.all("SELECT DISTINCT node FROM held_removals")}

    def is_held(self, node: NodeId) -> bool:
        return self.db.one("SELECT 1 FROM held_removals WHERE node=? LIMIT 1", (node,)) is not None

    def held_about(self, node: NodeId) -> list[HeldRow]:
        rows = self.db.all("SELECT node, author, seq, payload FROM held_removals WHERE node=?", (node,))
        return [HeldRow(*row) for row in rows]

    def is_any_held_in(self, directory: NodeId) -> bool:
        """Whether the removal of something is held whose link names this directory."""
        held = "SELECT 1 FROM placements AS p JOIN held_removals AS h ON h.node=p.node"
        sql = f"{held} WHERE (p.parent=?1 AND p.real IS NULL) OR p.real=?1 LIMIT 1"
        return self.db.one(sql, (directory,)) is not None

    def first_held(self, limit: int) -> list[NodeId]:
        """Some nodes, oldest first."""
        rows = self.db.all("SELECT node FROM held_removals GROUP BY node ORDER BY min(since_ms) LIMIT ?", (limit,))
        return [row[0] for row in rows]

    def release(self, node: NodeId) -> None:
        self.db.run("DELETE FROM held_removals WHERE node=?", (node,))

    def is_any_file_held(self) -> bool:
        sql = "SELECT 1 FROM held_removals AS h JOIN nodes AS n ON n.node=h.node WHERE n.kind!=2 LIMIT 1"
        return self.db.one(sql) is not None

    def any_held(self) -> bool:
        return self.db.one("SELECT 1 FROM held_removals LIMIT 1") is not None

    def counts(self) -> HeldCounts:
        row = self.db.one(
            "SELECT coalesce(sum(n.kind!=2), 0), coalesce(sum(n.kind=2), 0), coalesce(min(h.since_ms), 0) FROM"
            " (SELECT node, min(since_ms) AS since_ms FROM held_removals GROUP BY node) AS h"
            " JOIN nodes AS n ON n.node=h.node WHERE n.visible>0"
        )
        return HeldCounts(*row) if row else HeldCounts(0, 0, 0)

    def held_bytes(self) -> dict[AuthorId, int]:
        """Returns the size of the copies of held records, per author. Reads them all."""
        return dict(self.db.all("SELECT author, sum(length(payload)) FROM held_removals GROUP BY author"))

    def authors(self) -> list[AuthorId]:
        """Lists the authors of what is held."""
        return [row[0] for row in self.db.all("SELECT DISTINCT author FROM held_removals")]

    # ---- merged lately
    def note(self, removals: Iterable[RecentRemoval], now_ms: int) -> None:
        self.db.run_many(
            "INSERT OR REPLACE INTO recent_removals (node, author, file, at_ms, born_ms, counts, repository)"
            " VALUES (?,?,?,?,?,?,?)",
            [(r.node, r.author, int(r.file), now_ms, r.born_ms, int(r.counts), r.repository) for r in removals],
        )

    def forget_recent(self, before_ms: int, after_ms: int) -> None:
        """Forgets recent removals that are older, or of a time that has not come (the clock was set back)."""
        self.db.run("DELETE FROM recent_removals WHERE at_ms<? OR at_ms>?", (before_ms, after_ms))

    def recent_repositories(self) -> list[NodeId]:
        """Lists the repositories whose life excused removals."""
        rows = self.db.all("SELECT DISTINCT repository FROM recent_removals WHERE repository IS NOT NULL")
        return [row[0] for row in rows]

    def recent_files(self, gone: Sequence[NodeId]) -> int:
        """Files that count, where these repositories are gone."""
        where, values = _counting(gone)
        return self.db.number(f"SELECT count(*) FROM recent_removals WHERE {where}", values)

    def recent_lives(self, gone: Sequence[NodeId]) -> list[tuple[int, int]]:
        """Returns from when to when the files lived that count if these repositories are gone."""
        where, values = _counting(gone)
        rows = self.db.all(f"SELECT born_ms, at_ms FROM recent_removals WHERE {where}", values)
        return [(row[0], row[1]) for row in rows]

    def count_what_was_in(self, gone: Iterable[NodeId]) -> None:
        """Makes these repositories excuse nothing any more, even if they come back."""
        self.db.run_many("UPDATE recent_removals SET counts=1 WHERE repository=?", [(node,) for node in gone])

    def count_only_what_stood_with_the_held(self) -> None:
        """Files that came and went before or after are no part of that loss."""
        all_stood = self.db.number("SELECT max(born_ms) FROM held_removals")
        self.db.run("UPDATE recent_removals SET counts=0 WHERE born_ms>?1 OR at_ms<?1", (all_stood,))

    def recent_by(self, authors: Sequence[AuthorId], limit: int) -> list[NodeId]:
        """Lists nodes that these authors removed and that a person would miss."""
        marks = ",".join("?" * len(authors))
        sql = f"SELECT node FROM recent_removals WHERE counts>0 AND author IN ({marks}) LIMIT ?"
        rows = self.db.all(sql, (*authors, limit))
        return [row[0] for row in rows]

    def drop_recent(self, nodes: Iterable[NodeId]) -> None:
        self.db.run_many("DELETE FROM recent_removals WHERE node=?", [(node,) for node in nodes])

    def drop_all_recent(self) -> None:
        self.db.run("DELETE FROM recent_removals")

    # ---- births
    def born(self, nodes: Iterable[NodeId], now_ms: int, in_hold: bool) -> None:
        self.db.run_many("INSERT OR IGNORE INTO births VALUES (?,?,?)", [(node, now_ms, in_hold) for node in nodes])

    def birth(self, node: NodeId) -> tuple[int, bool] | None:
        """Returns when this device heard of a node, and whether during the hold. None: longer ago, or made here."""
        row = self.db.one("SELECT at_ms, in_hold FROM births WHERE node=?", (node,))
        return (row[0], bool(row[1])) if row else None

    def recently_born(self, limit: int) -> list[NodeId]:
        """Newest first."""
        return [row[0] for row in self.db.all("SELECT node FROM births ORDER BY at_ms DESC LIMIT ?", (limit,))]

    def forget_births(self, before_ms: int, after_ms: int) -> None:
        """Forgets births as `forget_recent` does removals. What was born during a hold is known as long as that goes
        on."""
        for bound in ("at_ms<?", "at_ms>?"):
            when = before_ms if "<" in bound else after_ms
            self.db.run(f"DELETE FROM births WHERE {bound} AND in_hold=0", (when,))

    def hold_is_over(self) -> None:
        self.db.run("UPDATE births SET in_hold=0 WHERE in_hold=1")

    # ---- what counts
    def shown_files(self) -> int:
        """Counts everything but directories that has a name. Reads every row: asked only where many removals came."""
        return self.db.number("SELECT count(*) FROM nodes WHERE kind!=2 AND visible>0")


def _counting(gone: Sequence[NodeId]) -> tuple[str, tuple[NodeId, ...]]:
    """Condition for files that count where these repositories are gone, with its values."""
    marks = ",".join("?" * len(gone))
    return f"file=1 AND (counts=1 OR repository IN ({marks}))", tuple(gone)
