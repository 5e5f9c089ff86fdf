# SPDX-License-Identifier: GPL-3.0-or-later
"""The tree as rows: nodes, placements, entries, inodes. What they mean is decided in `holofsd.tree`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from holofsd.core.ids import ROOT_ID, Ino, NodeId
from holofsd.core.lost import LOST_ID
from holofsd.store.aliases import Aliases
from holofsd.store.database import Database, Row
from holofsd.store.node_rows import EntryRow, InodeRow, NodeRow, PlacementRow
from holofsd.store.strays import Strays

__all__ = ["EntryRow", "InodeRow", "NodeRow", "Nodes", "PlacementRow"]

_MAX_VIEWS: Final = 1_000
_MAX_ROWS: Final = 2_000
_MAX_ROW_BYTES: Final = 4 << 20
"""Of the states in rows that are remembered: one that another device wrote may have a megabyte."""
_MAX_INOS: Final = 10_000
_DIRECTORY: Final = 2

_NODE_COLUMNS = (
    "node, kind, state, shown, held, size, mtime_ns, ctime_ns, mode, nlink, xattrs, remote, versions, visible"
)

_PUT_NODE = (
    f"INSERT INTO nodes ({_NODE_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT (node) DO UPDATE SET "
    + ", ".join(f"{column.strip()}=excluded.{column.strip()}" for column in _NODE_COLUMNS.split(",")[1:])
)

_VIEW_NODE = "n.kind, n.mode, n.size, n.nlink, n.mtime_ns, n.ctime_ns, n.shown, n.xattrs, n.remote"
_VIEW_ENTRIES = (
    f"SELECT i.ino, e.node, e.dot, {_VIEW_NODE}, e.parent, e.name, e.slot"
    " FROM entries AS e JOIN nodes AS n ON n.node=e.node"
    " LEFT JOIN inodes AS i ON i.node=e.node AND i.dot=e.dot AND i.detached IS NULL"
)


class Nodes:
    """All writes belong inside `db.transaction()`."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self.aliases = Aliases(db)
        self.strays = Strays(db)
        # A call asks several times for the same inode; nothing is remembered over a change of any row.
        self._views: dict[Ino, Row | None] = {}
        self._viewed_at = -1
        db.on_rollback.append(self._views.clear)
        # Rows of nodes that are not directories, and inode numbers of nodes: every statement that changes one is here.
        self._rows: dict[NodeId, NodeRow] = {}
        self._row_bytes = 0  # at least those of `_rows`: what was replaced or forgotten since counts, too
        self._inos: dict[NodeId, Ino] = {}
        db.on_rollback.append(self._forget_all)
        # Nearly always empty, and asked about with every name: rows come only through the methods below.
        self._has_bad_names = db.one("SELECT 1 FROM bad_names LIMIT 1") is not None
        self._has_hidden_copies = db.one("SELECT 1 FROM hidden_copies LIMIT 1") is not None

    def _forget_all(self) -> None:
        self._forget_rows()
        self._inos.clear()

    def _forget_rows(self) -> None:
        self._rows.clear()
        self._row_bytes = 0

    # ---- nodes
    def get(self, node: NodeId) -> NodeRow | None:
        known = self._rows.get(node)
        if known is not None:
            return known
        row = self.db.one(f"SELECT {_NODE_COLUMNS} FROM nodes WHERE node=?", (node,))
        return NodeRow(*row) if row else None

    def exists(self, node: NodeId) -> bool:
        return self.db.one("SELECT 1 FROM nodes WHERE node=?", (node,)) is not None

    def put(self, row: NodeRow) -> None:
        if row.kind != _DIRECTORY:
            self._row_bytes += len(row.state)
            if len(self._rows) >= _MAX_ROWS or self._row_bytes > _MAX_ROW_BYTES:
                self._forget_rows()
                self._row_bytes = len(row.state)
            self._rows[row.node] = row
        else:
            self._rows.pop(row.node, None)
        self.db.run(
            _PUT_NODE,
            (
                row.node, row.kind, row.state, row.shown, row.earlier, row.size, row.mtime_ns, row.ctime_ns,
                row.mode, row.nlink, row.xattrs, row.remote, row.versions, row.visible,
            ),
        )  # fmt: skip

    def delete(self, node: NodeId) -> None:
        """Forgets a node that never was published."""
        self._rows.pop(node, None)
        self.db.run("DELETE FROM nodes WHERE node=?", (node,))

    def directories(self) -> list[NodeId]:
        """All but the root."""
        return [row[0] for row in self.db.all("SELECT node FROM nodes WHERE kind=2 AND node!=?", (ROOT_ID,))]

    def glance(self, node: NodeId) -> tuple[int, int, int] | None:
        """(kind, visible, versions)."""
        row = self.db.one("SELECT kind, visible, versions FROM nodes WHERE node=?", (node,))
        return (row[0], row[1], row[2]) if row else None

    def state(self, node: NodeId) -> bytes | None:
        row = self.db.one("SELECT state FROM nodes WHERE node=?", (node,))
        return row[0] if row else None

    def keep_ctime(self, node: NodeId, ctime_ns: int) -> None:
        """Sets back the change time of a node after a write of which programs must not see anything."""
        self._rows.pop(node, None)
        self.db.run("UPDATE nodes SET ctime_ns=? WHERE node=?", (ctime_ns, node))

    def put_root(self, now_ns: int) -> None:
        """The root's attributes, once."""
        self.db.run(
            "INSERT OR IGNORE INTO nodes VALUES (?,2,x'',x'',NULL,0,?,?,493,0,0,0,1,1)", (ROOT_ID, now_ns, now_ns)
        )

    def touch_directory(self, node: NodeId, now_ns: int, more_subdirectories: int) -> None:
        """Sets the times of a directory whose entries changed."""
        self.db.run(
            "UPDATE nodes SET mtime_ns=?, ctime_ns=?, nlink=nlink+? WHERE node=? AND kind=2",
            (now_ns, now_ns, more_subdirectories, node),
        )

    def date_directory(self, node: NodeId, mtime_ns: int) -> None:
        self.db.run("UPDATE nodes SET mtime_ns=? WHERE node=? AND kind=2", (mtime_ns, node))

    def newest_name(self, directory: NodeId) -> bytes | None:
        """The greatest stamp of a placement in this directory."""
        row = self.db.one("SELECT max(stamp) FROM placements WHERE parent=?", (directory,))
        return row[0] if row else None

    def count_subdirectories_again(self, node: NodeId) -> None:
        self.db.run("UPDATE nodes SET nlink=? WHERE node=? AND kind=2", (self.subdirectories(node), node))

    def revived(self, limit: int) -> list[NodeId]:
        """Removed directories that are shown because a visible child needs them; not `lost+found`, which comes and goes
        with what is in it."""
        sql = "SELECT node FROM nodes WHERE visible=2 AND node!=? LIMIT ?"
        return [row[0] for row in self.db.all(sql, (LOST_ID, limit))]

    def nameless(self, after: NodeId, limit: int) -> list[tuple[NodeId, bytes]]:
        """(node, state) of nodes without a name, in order of id."""
        sql = "SELECT node, state FROM nodes WHERE visible=0 AND node>? AND length(state)>0 ORDER BY node LIMIT ?"
        return [(row[0], row[1]) for row in self.db.all(sql, (after, limit))]

    # ---- placements
    def placements(self, node: NodeId) -> list[PlacementRow]:
        rows = self.db.all("SELECT node, link, parent, name, stamp, real FROM placements WHERE node=?", (node,))
        return [PlacementRow(*row) for row in rows]

    def clear_placements(self, node: NodeId) -> None:
        self.db.run("DELETE FROM placements WHERE node=?", (node,))

    def add_placement(self, row: PlacementRow) -> None:
        self.db.run(
            "INSERT INTO placements VALUES (?,?,?,?,?,?)",
            (row.node, row.link, row.parent, row.name, row.stamp, row.real),
        )

    def real_parent(self, node: NodeId) -> NodeId | None:
        """The directory that a directory's link names."""
        row = self.db.one("SELECT coalesce(real, parent) FROM placements WHERE node=? LIMIT 1", (node,))
        return row[0] if row else None

    def directories_at_one_name(self) -> list[NodeId]:
        """Lists all directories that share their name with another one. Reads all of them."""
        rows = self.db.all(
            "SELECT p.node FROM placements AS p JOIN nodes AS n ON n.node=p.node AND n.kind=2"
            " WHERE EXISTS (SELECT 1 FROM placements AS q JOIN nodes AS m ON m.node=q.node AND m.kind=2"
            " WHERE q.parent=p.parent AND q.name=p.name AND q.node!=p.node)"
        )
        return [row[0] for row in rows]

    def placed_under(self, node: NodeId) -> tuple[NodeId, bytes] | None:
        """(parent, name) of one placement: of the only one, if it is a directory."""
        row = self.db.one("SELECT parent, name FROM placements WHERE node=? LIMIT 1", (node,))
        return (row[0], row[1]) if row else None

    def is_placed_at(self, parent: NodeId, name: bytes) -> bool:
        return self.db.one("SELECT 1 FROM placements WHERE parent=? AND name=?", (parent, name)) is not None

    def slots_between(self, parent: NodeId, first: bytes, last: bytes) -> list[bytes]:
        rows = self.db.all(
            "SELECT DISTINCT name FROM placements WHERE parent=? AND name>=? AND name<=?", (parent, first, last)
        )
        return [row[0] for row in rows]

    # ---- names that cannot be shown
    def set_bad_names(self, node: NodeId, links: Sequence[bytes]) -> None:
        if self._has_bad_names:
            self.db.run("DELETE FROM bad_names WHERE node=?", (node,))
        if links:
            self._has_bad_names = True
            self.db.run_many("INSERT OR IGNORE INTO bad_names VALUES (?,?)", [(node, link) for link in links])

    def bad_names(self) -> int:
        return self.db.number("SELECT count(*) FROM bad_names")

    def slot(self, parent: NodeId, name: bytes) -> list[PlacementRow]:
        rows = self.db.all(
            "SELECT node, link, parent, name, stamp, real FROM placements WHERE parent=? AND name=?", (parent, name)
        )
        return [PlacementRow(*row) for row in rows]

    def placed_in(self, parent: NodeId) -> list[tuple[NodeId, int]]:
        """(node, kind) of what wants a name in a directory."""
        rows = self.db.all(
            "SELECT DISTINCT p.node, n.kind FROM placements AS p JOIN nodes AS n ON n.node=p.node WHERE p.parent=?",
            (parent,),
        )
        return [(row[0], row[1]) for row in rows]

    def really_in(self, parent: NodeId) -> list[NodeId]:
        """Nodes with a link that names this directory, wherever it is shown."""
        return [row[0] for row in self.db.all(f"SELECT DISTINCT node FROM placements {self._real(parent)}", (parent,))]

    def alone_in(self, directory: NodeId, shown: NodeId) -> list[tuple[NodeId, bytes]]:
        """(node, name) of what is in a directory and would have the same name in `shown`, and nothing beside it: files
        with one name and one version, which nothing else wants here or there. Conflict names are left out."""
        return self.db.all(
            "SELECT p.node, p.name FROM placements AS p JOIN nodes AS n ON n.node=p.node"
            f" {self._real(directory, 'p.')} AND n.kind!=2 AND n.versions<=1"
            " AND instr(p.name, CAST(' (conflict ' AS BLOB))=0 AND p.name!=CAST('.git' AS BLOB)"
            " AND (SELECT count(*) FROM placements AS q WHERE q.node=p.node)=1"
            " AND (SELECT count(*) FROM placements AS q WHERE q.parent=p.parent AND q.name=p.name)=1"
            " AND NOT EXISTS (SELECT 1 FROM placements AS q WHERE q.parent=? AND q.name=p.name)",
            (directory, shown),
        )

    def carry(self, directory: NodeId, before: NodeId, now: NodeId, found: Sequence[tuple[NodeId, bytes]]) -> None:
        """Moves what `alone_in` found in a directory that was shown as `before` and is shown as `now`."""
        real = directory if now != directory else None
        self.db.run_many("UPDATE placements SET parent=?, real=? WHERE node=?", [(now, real, n) for n, _ in found])
        self.db.run_many(
            "UPDATE entries SET parent=? WHERE parent=? AND name=?", [(now, before, name) for _, name in found]
        )

    def has_children(self, parent: NodeId) -> bool:
        """Whether a link of a visible node names this directory."""
        return self.db.one(f"SELECT 1 FROM placements {self._real(parent)} LIMIT 1", (parent,)) is not None

    def _real(self, parent: NodeId, of: str = "") -> str:
        return f"WHERE {of}real=?" if parent in self.aliases else f"WHERE {of}parent=? AND {of}real IS NULL"

    # ---- entries
    def entry(self, parent: NodeId, name: bytes) -> EntryRow | None:
        row = self.db.one("SELECT parent, name, node, dot, slot FROM entries WHERE parent=? AND name=?", (parent, name))
        return EntryRow(*row) if row else None

    def entries_of_slot(self, parent: NodeId, slot: bytes) -> list[EntryRow]:
        """The name itself, and conflict copies made from it."""
        rows = self.db.all(
            "SELECT parent, name, node, dot, slot FROM entries WHERE parent=?1 AND name=?2 AND slot=?2 UNION ALL"
            " SELECT parent, name, node, dot, slot FROM entries INDEXED BY entries_copies"
            " WHERE parent=?1 AND slot=?2 AND name!=slot",
            (parent, slot),
        )
        return [EntryRow(*row) for row in rows]

    def entries_of_node(self, node: NodeId) -> list[EntryRow]:
        """Every name of a node and of its conflict copies."""
        slots = self.db.all("SELECT DISTINCT parent, name FROM placements WHERE node=?", (node,))
        return [entry for slot in slots for entry in self.entries_of_slot(slot[0], slot[1]) if entry.node == node]

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

    # ---- conflict copies
    def conflict_slots(self) -> list[tuple[NodeId, bytes]]:
        """(parent, slot) of every name that has copies, shown or hidden."""
        rows = self.db.all(
            "SELECT parent, slot FROM entries WHERE name!=slot UNION SELECT parent, slot FROM hidden_copies"
        )
        return [(row[0], row[1]) for row in rows]

    def hidden_copies(self) -> list[EntryRow]:
        """Lists all hidden copies as entries with an empty name."""
        rows = self.db.all("SELECT parent, x'', node, dot, slot FROM hidden_copies ORDER BY parent, slot")
        return [EntryRow(*row) for row in rows]

    def hidden_copies_of(self, parent: NodeId, slot: bytes) -> list[EntryRow]:
        """Lists the hidden copies of one name as entries with an empty name."""
        rows = self.db.all(
            "SELECT parent, x'', node, dot, slot FROM hidden_copies WHERE parent=? AND slot=?", (parent, slot)
        )
        return [EntryRow(*row) for row in rows]

    def count_copies(self) -> int:
        return self.db.number(
            "SELECT (SELECT count(*) FROM entries WHERE name!=slot) + (SELECT count(*) FROM hidden_copies)"
        )

    def set_hidden_copies(self, parent: NodeId, slot: bytes, copies: Sequence[tuple[NodeId, bytes]]) -> None:
        if self._has_hidden_copies:
            self.db.run("DELETE FROM hidden_copies WHERE parent=? AND slot=?", (parent, slot))
        if copies:
            self._has_hidden_copies = True
            self.db.run_many(
                "INSERT INTO hidden_copies VALUES (?,?,?,?)", [(parent, slot, node, dot) for node, dot in copies]
            )

    # ---- attributes, as tuples for `holofsd.tree.views`
    def view_entry(self, parent: NodeId, name: bytes) -> Row | None:
        return self.db.one(f"{_VIEW_ENTRIES} WHERE e.parent=? AND e.name=?", (parent, name))

    def view_children(self, parent: NodeId, after: bytes, limit: int) -> list[Row]:
        return self.db.all(
            f"{_VIEW_ENTRIES} WHERE e.parent=? AND e.name>? ORDER BY e.name LIMIT ?", (parent, after, limit or -1)
        )

    def view_inode(self, ino: Ino) -> Row | None:
        changes = self.db.changes
        if changes != self._viewed_at or len(self._views) > _MAX_VIEWS:
            self._views.clear()
            self._viewed_at = changes
        elif ino in self._views:
            return self._views[ino]
        row = self._views[ino] = self.db.one(
            f"SELECT i.ino, i.node, i.dot, {_VIEW_NODE}, i.detached"
            " FROM inodes AS i LEFT JOIN nodes AS n ON n.node=i.node"
            " WHERE i.ino=?",
            (ino,),
        )
        return row

    def view_node(self, node: NodeId) -> Row | None:
        return self.db.one(f"SELECT n.node, x'', {_VIEW_NODE} FROM nodes AS n WHERE n.node=?", (node,))

    def has_entries(self, parent: NodeId) -> bool:
        return self.db.one("SELECT 1 FROM entries WHERE parent=? LIMIT 1", (parent,)) is not None

    def subdirectories(self, parent: NodeId) -> int:
        return self.db.number(
            "SELECT count(*) FROM entries AS e JOIN nodes AS n ON n.node=e.node WHERE e.parent=? AND n.kind=2",
            (parent,),
        )

    # ---- counts
    def count_below_root(self) -> int:
        """Counts all nodes but the root, removed ones too."""
        return self.db.number("SELECT count(*) FROM nodes WHERE node!=?", (ROOT_ID,))

    def count_files(self) -> tuple[int, int]:
        """(regular files with a name, their sizes added up). Reads every row."""
        # Sizes are what their writers say: `sum` fails beyond 2^63, `total` does not.
        row = self.db.one("SELECT count(*), CAST(total(size) AS INTEGER) FROM nodes WHERE kind=1 AND visible>0")
        return (row[0], row[1]) if row else (0, 0)

    def count_unreachable(self) -> int:
        """Nodes below a directory that is not here (yet). Costs a look-up for each directory."""
        return self.db.number(
            "WITH RECURSIVE parents (parent) AS ("
            "  SELECT min(parent) FROM placements UNION ALL"
            "  SELECT (SELECT min(p.parent) FROM placements AS p WHERE p.parent>parents.parent)"
            "  FROM parents WHERE parents.parent IS NOT NULL),"
            " lost (node) AS ("
            "  SELECT p.node FROM parents JOIN placements AS p ON p.parent=parents.parent"
            "  WHERE NOT EXISTS (SELECT 1 FROM placements AS up WHERE up.node=parents.parent)"
            "  AND parents.parent!=zeroblob(16)"
            "  UNION SELECT p.node FROM lost JOIN placements AS p ON p.parent=lost.node)"
            " SELECT count(*) FROM lost"
        )

    # ---- inodes
    def inode(self, ino: Ino) -> InodeRow | None:
        row = self.db.one("SELECT ino, node, dot, detached FROM inodes WHERE ino=?", (ino,))
        return InodeRow(*row) if row else None

    def find_ino(self, node: NodeId, dot: bytes = b"") -> Ino | None:
        if not dot and node in self._inos:
            return self._inos[node]
        row = self.db.one("SELECT ino FROM inodes WHERE node=? AND dot=? AND detached IS NULL", (node, dot))
        if row is not None and not dot:
            self._know_ino(node, Ino(row[0]))
        return Ino(row[0]) if row else None

    def _know_ino(self, node: NodeId, ino: Ino) -> None:
        if len(self._inos) >= _MAX_INOS:
            self._inos.clear()
        self._inos[node] = ino

    def _ino_changes(self, ino: Ino) -> None:
        """Drops the remembered number of a node, before the number gets another meaning or none."""
        inode = self.inode(ino)
        if inode is not None:
            self._inos.pop(inode.node, None)

    def ino_of(self, node: NodeId, dot: bytes = b"") -> Ino:
        """The inode number of a node (or conflict copy), given now if it has none. Root is 1."""
        found = self.find_ino(node, dot)
        if found is not None:
            return found
        return self.new_ino(node, dot)

    def new_ino(self, node: NodeId, dot: bytes = b"", ino: Ino | None = None) -> Ino:
        """Numbers a node or conflict copy that is known to have no number; `ino`: a leased one."""
        cursor = self.db.run("INSERT INTO inodes (ino, node, dot, detached) VALUES (?,?,?,NULL)", (ino, node, dot))
        ino = Ino(int(cursor.lastrowid or 0))
        if not dot:
            self._know_ino(node, ino)
        return ino

    def lease_inos(self, count: int) -> Ino:
        """The first of so many numbers that nobody else gets."""
        found = self.db.one("UPDATE sqlite_sequence SET seq=seq+? WHERE name='inodes' RETURNING seq", (count,))
        assert found is not None  # the root has a number from the beginning
        return Ino(found[0] - count + 1)

    @property
    def last_leased(self) -> Ino:
        return Ino(self.db.number("SELECT seq FROM sqlite_sequence WHERE name='inodes'"))

    def detach(self, ino: Ino, version: bytes) -> None:
        """Makes this number mean that version from now on, for handles that are open. The node gets another number."""
        self._ino_changes(ino)
        self.db.run("UPDATE inodes SET detached=? WHERE ino=?", (version, ino))

    def rebind(self, ino: Ino, node: NodeId, dot: bytes = b"") -> None:
        """This number now means that node (rename over: the source's number takes over the target)."""
        self._ino_changes(ino)
        self._inos.pop(node, None)
        self.db.run("UPDATE inodes SET node=?, dot=?, detached=NULL WHERE ino=?", (node, dot, ino))

    def drop_inode(self, ino: Ino) -> None:
        self._ino_changes(ino)
        self.db.run("DELETE FROM inodes WHERE ino=?", (ino,))

    def detached(self) -> list[Ino]:
        return [Ino(row[0]) for row in self.db.all("SELECT ino FROM inodes WHERE detached IS NOT NULL")]

    def rename_copies(self, tokens: Mapping[bytes, bytes]) -> None:
        """Versions got other tokens, old -> new: the inodes of their conflict copies stay."""
        for ino, dot in self.db.all("SELECT ino, dot FROM inodes WHERE dot!=x'' AND detached IS NULL"):
            if dot in tokens:
                self.db.run("UPDATE inodes SET dot=? WHERE ino=?", (tokens[dot], ino))

    # ---- bodies that are not hashed yet
    def note_pending(self, staging: str, node: NodeId) -> None:
        self.db.run("INSERT OR IGNORE INTO pending_bodies VALUES (?,?)", (staging, node))

    def is_any_pending(self) -> bool:
        return self.db.one("SELECT 1 FROM pending_bodies LIMIT 1") is not None

    def pending_nodes(self) -> set[NodeId]:
        """Nodes with content that is not hashed yet, or was not."""
        return {row[0] for row in self.db.all("SELECT node FROM pending_bodies")}

    def pending_in(self, staging: str) -> list[NodeId]:
        return [row[0] for row in self.db.all("SELECT node FROM pending_bodies WHERE staging=?", (staging,))]

    def forget_pending(self, staging: str) -> None:
        self.db.run("DELETE FROM pending_bodies WHERE staging=?", (staging,))

    # ---- overrides (cycles)
    def overrides(self) -> dict[NodeId, tuple[NodeId, bytes]]:
        return {row[0]: (row[1], row[2]) for row in self.db.all("SELECT node, parent, name FROM overrides")}

    def override(self, node: NodeId) -> tuple[NodeId, bytes] | None:
        """(parent, name) of a directory that cannot have the place it wants."""
        row = self.db.one("SELECT parent, name FROM overrides WHERE node=?", (node,))
        return (row[0], row[1]) if row else None

    def set_overrides(self, overrides: dict[NodeId, tuple[NodeId, bytes]]) -> None:
        self.db.run("DELETE FROM overrides")
        self.db.run_many("INSERT INTO overrides VALUES (?,?,?)", ((n, p, name) for n, (p, name) in overrides.items()))
