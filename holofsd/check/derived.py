# SPDX-License-Identifier: GPL-3.0-or-later
"""Check of the derived rows: the tree is projected from all states into a fresh index, and each row compared with that.

So what is shown after a repair is what a device that joins now would show.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from holofsd.check.case import Case
from holofsd.check.states import StateCheck
from holofsd.codec.records import encode_state
from holofsd.core.errors import HoloError
from holofsd.core.ids import ROOT_ID, NodeId
from holofsd.core.state import Kind, NodeState
from holofsd.store.volume import VolumeStore
from holofsd.tree.states import decode_version
from holofsd.tree.tree import WANTED_ANEW, Tree

_BATCH: Final = 200
TABLES: Final = {
    "placements": (("node", "link", "parent", "name", "stamp", "real"), "the names of a file"),
    "aliases": (("node", "shown"), "a folder that is shown as one with another"),
    "entries": (("parent", "name", "node", "dot", "slot"), "a name in a folder"),
    "overrides": (("node", "parent", "name"), "a folder that falls back"),
    "hidden_copies": (("parent", "slot", "node", "dot"), "a conflict copy"),
    "bad_names": (("node", "link"), "a name that cannot be shown"),
    "strays": (("node", "parent"), "a file in a folder that is not known"),
    "wanted": (("hash", "node", "author", "size"), "content to be fetched"),
}
"""Tables that follow from states and content alone: the columns that do, and what a row is to a person."""
_NODE: Final = ("kind", "mode", "nlink", "xattrs", "versions", "visible")
_SHOWN: Final = ("shown", "held", "size", "remote")


def check_derived(case: Case, scratch: Path) -> None:
    """`scratch`: an empty directory for the fresh index."""
    states = StateCheck(case)
    fresh = VolumeStore(case.store.volume, scratch)
    try:
        _project(case, fresh, states.all())
    finally:
        fresh.close()
    if case.unreadable:
        sentence = "Names were not checked, for some states cannot be read."
        case.report.add("names-unchecked", "tree", sentence, fixable=False)
        return
    case.store.db.run("ATTACH DATABASE ? AS fresh", (str(scratch / "index.db"),))
    for table, (columns, what) in TABLES.items():
        if table == "wanted" and case.store.meta(WANTED_ANEW) is not None:
            continue  # written by an earlier program: the next start makes it anew
        _compare_table(case, table, columns, what)
    _compare_nodes(case, states)
    _compare_pending(case)
    _check_inodes(case)


def _project(case: Case, fresh: VolumeStore, states: Iterable[NodeState]) -> None:
    fresh.db.run("PRAGMA synchronous=OFF")
    with fresh.db.transaction():
        fresh.db.run_many("INSERT INTO content VALUES (?,?,?)", case.store.db.run("SELECT * FROM content"))
        fresh.db.run_many("DELETE FROM content WHERE hash=?", ((blob,) for blob in case.lost_content))
        fresh.db.run_many("INSERT INTO content VALUES (?,?,0)", case.found_content.items())
        fresh.db.run_many("INSERT INTO given_up VALUES (?)", case.store.db.run("SELECT parent FROM given_up"))
    tree = Tree(fresh, lambda: time.time_ns() // 1_000_000)
    batch: list[NodeState] = []
    for state in states:
        batch.append(state)
        if len(batch) == _BATCH:
            _apply(fresh, tree, batch)
            batch = []
    _apply(fresh, tree, batch)
    with fresh.db.transaction():
        while tree.place_due() is not None:
            pass


def _apply(fresh: VolumeStore, tree: Tree, states: list[NodeState]) -> None:
    with fresh.db.transaction():
        tree.apply(states)


def _compare_table(case: Case, table: str, columns: tuple[str, ...], what: str) -> None:
    db = case.store.db
    names = ", ".join(columns)
    surplus = db.all(f"SELECT {names} FROM main.{table} EXCEPT SELECT {names} FROM fresh.{table}")
    missing = db.all(f"SELECT {names} FROM fresh.{table} EXCEPT SELECT {names} FROM main.{table}")
    case.report.count(table, db.number(f"SELECT count(*) FROM main.{table}"))
    same = " AND ".join(f"{column} IS ?" for column in columns)
    # What is too much goes before what is missing comes: a row that differs is both, with one key.
    for row in surplus:
        case.report.add(
            f"{table}-wrong", _told(row), f"The index is wrong about {what}; it is derived anew.", fixable=True
        )
        case.sql(f"DELETE FROM main.{table} WHERE {same}", *row)
    for row in missing:
        case.report.add(
            f"{table}-wrong", _told(row), f"The index is wrong about {what}; it is derived anew.", fixable=True
        )
        case.sql(f"INSERT OR REPLACE INTO main.{table} SELECT * FROM fresh.{table} WHERE {same}", *row)


def _told(row: tuple[object, ...]) -> str:
    return " ".join(value.hex()[:32] if isinstance(value, bytes) else str(value) for value in row[:2])


def _compare_nodes(case: Case, states: StateCheck) -> None:
    db = case.store.db
    for (node,) in db.all("SELECT node FROM main.nodes EXCEPT SELECT node FROM fresh.nodes"):
        # A node that nothing is known of; the root is in both.
        case.report.add(
            "node-unknown", node.hex(), "The index has a row that nothing stands for; it goes.", fixable=True
        )
        case.sql("DELETE FROM main.nodes WHERE node=?", node)
    for (node,) in db.all("SELECT node FROM fresh.nodes EXCEPT SELECT node FROM main.nodes"):
        case.sql("INSERT INTO main.nodes SELECT * FROM fresh.nodes WHERE node=?", node)
    for node, state in states.wrong.items():
        case.sql("UPDATE main.nodes SET state=? WHERE node=?", encode_state(state), node)
    differs = " OR ".join(f"n.{column} IS NOT f.{column}" for column in _NODE)
    shown = " OR ".join(f"n.{column} IS NOT f.{column}" for column in _SHOWN)
    rows = db.all(
        f"SELECT n.node, n.held, {differs}, {shown} OR (n.mtime_ns!=f.mtime_ns AND n.kind!={int(Kind.DIRECTORY)})"
        " FROM main.nodes AS n JOIN fresh.nodes AS f ON f.node=n.node WHERE n.node!=?",
        (ROOT_ID,),
    )
    for node, held, attributes, content in rows:
        if attributes:
            _repair_node(case, node, _NODE)
        if content and not _is_rightly_held(case, node, held):
            _repair_node(case, node, (*_SHOWN, "mtime_ns"))
    _check_root(case)


def _repair_node(case: Case, node: NodeId, columns: tuple[str, ...]) -> None:
    case.report.add(
        "nodes-wrong", node.hex(), "The index is wrong about a file's attributes; they are derived anew.", fixable=True
    )
    given = ", ".join(f"{column}=(SELECT {column} FROM fresh.nodes WHERE node=?1)" for column in columns)
    case.sql(f"UPDATE main.nodes SET {given} WHERE node=?1", node)


def _is_rightly_held(case: Case, node: NodeId, held: bytes | None) -> bool:
    """A version that was replaced is shown until the content of the newer one is here."""
    if held is None:
        return False
    missing = case.store.db.one("SELECT remote FROM fresh.nodes WHERE node=?", (node,))
    try:
        decode_version(held)
    except (HoloError, StopIteration):
        return False
    return missing is not None and bool(missing[0])


def _check_root(case: Case) -> None:
    right = case.store.db.number("SELECT nlink FROM fresh.nodes WHERE node=?", (ROOT_ID,))
    if case.store.db.number("SELECT nlink FROM main.nodes WHERE node=?", (ROOT_ID,)) != right:
        _repair_node(case, ROOT_ID, ("nlink",))


def _compare_pending(case: Case) -> None:
    """A row too many is harmless: a node had that content once."""
    rows = case.store.db.all(
        "SELECT staging, node FROM fresh.pending_bodies EXCEPT SELECT staging, node FROM main.pending_bodies"
    )
    for staging, node in rows:
        case.report.add(
            "pending-unknown", node.hex(), "Content that is to be hashed was not noted; it is.", fixable=True
        )
        case.sql("INSERT OR IGNORE INTO main.pending_bodies VALUES (?,?)", staging, node)


def _check_inodes(case: Case) -> None:
    """Inode numbers lead to something that is shown, or to a version that open files keep."""
    db = case.store.db
    rows = db.all(
        "SELECT ino FROM inodes AS i WHERE detached IS NULL AND node!=? AND ((dot=x'' AND NOT EXISTS"
        " (SELECT 1 FROM fresh.nodes AS n WHERE n.node=i.node AND n.visible>0)) OR (dot!=x'' AND NOT EXISTS"
        " (SELECT 1 FROM fresh.entries AS e WHERE e.node=i.node AND e.dot=i.dot)))",
        (ROOT_ID,),
    )
    dangling = [row[0] for row in rows]
    for ino, version in db.all("SELECT ino, detached FROM inodes WHERE detached IS NOT NULL"):
        try:
            decode_version(version)
        except (HoloError, StopIteration):
            dangling.append(ino)
    for ino in dangling:
        case.report.add("inode-dangling", str(ino), "An inode number leads nowhere; it goes.", fixable=True)
        case.sql("DELETE FROM inodes WHERE ino=?", ino)
