# SPDX-License-Identifier: GPL-3.0-or-later
"""The tree as rows: nodes, placements, entries, inodes. What they mean is decided in `holofsd.tree`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from holofsd.core.ids import Ino, LinkId, NodeId
from holofsd.store.database import Database


@dataclass(slots=True)
class NodeRow:
    """A row of `nodes`; see schema.sql for each column."""

    node: NodeId
    kind: int
    state: bytes
    shown: bytes
    held: bytes | None
    size: int
    mtime_ns: int
    ctime_ns: int
    mode: int
    nlink: int
    xattrs: int
    remote: int
    versions: int
    visible: int


@dataclass(frozen=True, slots=True)
class PlacementRow:
    node: NodeId
    link: LinkId
    parent: NodeId
    name: bytes
    stamp: bytes


@dataclass(frozen=True, slots=True)
class EntryRow:
    parent: NodeId
    name: bytes
    node: NodeId
    dot: bytes
    slot: bytes


@dataclass(frozen=True, slots=True)
class InodeRow:
    ino: Ino
    node: NodeId
    dot: bytes
    detached: bytes | None


_NODE_COLUMNS = (
    "node, kind, state, shown, held, size, mtime_ns, ctime_ns, mode, nlink, xattrs, remote, versions, visible"
)


class Nodes:
    """All writes belong inside `db.transaction()`."""

    def __init__(self, db: Database) -> None:
        self.db = db

    # ---- nodes
    def get(self, node: NodeId) -> NodeRow | None:
        row = self.db.one(f"SELECT {_NODE_COLUMNS} FROM nodes WHERE node=?", (node,))
        return NodeRow(*row) if row else None

    def exists(self, node: NodeId) -> bool:
        return self.db.one("SELECT 1 FROM nodes WHERE node=?", (node,)) is not None

    def put(self, row: NodeRow) -> None:
        self.db.run(
            f"INSERT OR REPLACE INTO nodes ({_NODE_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
            (
                row.node, row.kind, row.state, row.shown, row.held, row.size, row.mtime_ns, row.ctime_ns,
                row.mode, row.nlink, row.xattrs, row.remote, row.versions, row.visible,
            ),
        )  # fmt: skip

    def delete(self, node: NodeId) -> None:
        """Forgets a node that never was published."""
        self.db.run("DELETE FROM nodes WHERE node=?", (node,))

    def directories(self) -> list[NodeId]:
        return [row[0] for row in self.db.all("SELECT node FROM nodes WHERE kind=2")]

    # ---- placements
    def placements(self, node: NodeId) -> list[PlacementRow]:
        rows = self.db.all("SELECT node, link, parent, name, stamp FROM placements WHERE node=?", (node,))
        return [PlacementRow(*row) for row in rows]

    def set_placements(self, node: NodeId, rows: Iterable[PlacementRow]) -> None:
        self.db.run("DELETE FROM placements WHERE node=?", (node,))
        self.db.run_many(
            "INSERT INTO placements VALUES (?,?,?,?,?)", ((r.node, r.link, r.parent, r.name, r.stamp) for r in rows)
        )

    def slot(self, parent: NodeId, name: bytes) -> list[PlacementRow]:
        rows = self.db.all(
            "SELECT node, link, parent, name, stamp FROM placements WHERE parent=? AND name=?", (parent, name)
        )
        return [PlacementRow(*row) for row in rows]

    def has_children(self, parent: NodeId) -> bool:
        return self.db.one("SELECT 1 FROM placements WHERE parent=? LIMIT 1", (parent,)) is not None

    # ---- entries
    def entry(self, parent: NodeId, name: bytes) -> EntryRow | None:
        row = self.db.one("SELECT parent, name, node, dot, slot FROM entries WHERE parent=? AND name=?", (parent, name))
        return EntryRow(*row) if row else None

    def entries_of_slot(self, parent: NodeId, slot: bytes) -> list[EntryRow]:
        rows = self.db.all(
            "SELECT parent, name, node, dot, slot FROM entries WHERE parent=? AND slot=?", (parent, slot)
        )
        return [EntryRow(*row) for row in rows]

    def entries_of_node(self, node: NodeId) -> list[EntryRow]:
        rows = self.db.all("SELECT parent, name, node, dot, slot FROM entries WHERE node=?", (node,))
        return [EntryRow(*row) for row in rows]

    def put_entry(self, row: EntryRow) -> None:
        self.db.run(
            "INSERT OR REPLACE INTO entries (parent, name, node, dot, slot) VALUES (?,?,?,?,?)",
            (row.parent, row.name, row.node, row.dot, row.slot),
        )

    def delete_entry(self, parent: NodeId, name: bytes) -> None:
        self.db.run("DELETE FROM entries WHERE parent=? AND name=?", (parent, name))

    def children(self, parent: NodeId, after: bytes, limit: int) -> list[EntryRow]:
        """Entries in order of name, names after `after`; limit 0: all."""
        rows = self.db.all(
            "SELECT parent, name, node, dot, slot FROM entries WHERE parent=? AND name>? ORDER BY name LIMIT ?",
            (parent, after, limit or -1),
        )
        return [EntryRow(*row) for row in rows]

    def listing(self, parent: NodeId, after: bytes, limit: int) -> list[tuple[bytes, Ino | None, bytes, NodeRow]]:
        """(name, ino if it has one, dot, node) of a directory in one query, in order of name; limit 0: all."""
        columns = ", ".join(f"n.{column.strip()}" for column in _NODE_COLUMNS.split(","))
        rows = self.db.all(
            f"SELECT e.name, i.ino, e.dot, {columns} FROM entries AS e JOIN nodes AS n ON n.node=e.node"
            " LEFT JOIN inodes AS i ON i.node=e.node AND i.dot=e.dot AND i.detached IS NULL"
            " WHERE e.parent=? AND e.name>? ORDER BY e.name LIMIT ?",
            (parent, after, limit or -1),
        )
        return [(row[0], row[1], row[2], NodeRow(*row[3:])) for row in rows]

    def has_entries(self, parent: NodeId) -> bool:
        return self.db.one("SELECT 1 FROM entries WHERE parent=? LIMIT 1", (parent,)) is not None

    def subdirectories(self, parent: NodeId) -> int:
        return self.db.number(
            "SELECT count(*) FROM entries AS e JOIN nodes AS n ON n.node=e.node WHERE e.parent=? AND n.kind=2",
            (parent,),
        )

    # ---- inodes
    def inode(self, ino: Ino) -> InodeRow | None:
        row = self.db.one("SELECT ino, node, dot, detached FROM inodes WHERE ino=?", (ino,))
        return InodeRow(*row) if row else None

    def find_ino(self, node: NodeId, dot: bytes = b"") -> Ino | None:
        row = self.db.one("SELECT ino FROM inodes WHERE node=? AND dot=? AND detached IS NULL", (node, dot))
        return Ino(row[0]) if row else None

    def ino_of(self, node: NodeId, dot: bytes = b"") -> Ino:
        """The inode number of a node (or conflict copy), given now if it has none. Root is 1."""
        found = self.find_ino(node, dot)
        if found is not None:
            return found
        cursor = self.db.run("INSERT INTO inodes (node, dot, detached) VALUES (?,?,NULL)", (node, dot))
        return Ino(int(cursor.lastrowid or 0))

    def detach(self, ino: Ino, version: bytes) -> None:
        """From now on this number means that version, for handles that are open; the node gets another number."""
        self.db.run("UPDATE inodes SET detached=? WHERE ino=?", (version, ino))

    def rebind(self, ino: Ino, node: NodeId, dot: bytes = b"") -> None:
        """This number now means that node (rename over: the source's number takes over the target)."""
        self.db.run("UPDATE inodes SET node=?, dot=?, detached=NULL WHERE ino=?", (node, dot, ino))

    def drop_inode(self, ino: Ino) -> None:
        self.db.run("DELETE FROM inodes WHERE ino=?", (ino,))

    # ---- overrides (cycles)
    def overrides(self) -> dict[NodeId, tuple[NodeId, bytes]]:
        return {row[0]: (row[1], row[2]) for row in self.db.all("SELECT node, parent, name FROM overrides")}

    def set_overrides(self, overrides: dict[NodeId, tuple[NodeId, bytes]]) -> None:
        self.db.run("DELETE FROM overrides")
        self.db.run_many("INSERT INTO overrides VALUES (?,?,?)", ((n, p, name) for n, (p, name) in overrides.items()))
