# SPDX-License-Identifier: GPL-3.0-or-later
"""A volume on disk for tests of the tree, what it shows, and checks that hold for any index."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from holofsd.codec.signing import SigningKey
from holofsd.core.ids import ROOT_ID, AuthorId, Ino, NodeId, VolumeId
from holofsd.core.project import parse_token
from holofsd.core.state import Kind, NodeState
from holofsd.store.volume import VolumeStore
from holofsd.tree.changes import TreeChange
from holofsd.tree.tree import Tree
from holofsd.tree.views import Entry
from support.model import Shown, content_of, project

VOLUME = VolumeId(b"v" * 32)
DERIVED = {
    "placements": "node, link, parent, name, stamp, real",
    "aliases": "node, shown",
    "entries": "parent, name, node, dot, slot",
    "overrides": "node, parent, name",
    "hidden_copies": "parent, slot, node, dot",
    "bad_names": "node, link",
    "strays": "node, parent",
    "wanted": "hash, node, size",
    "nodes": "node, kind, state, shown, size, mode, nlink, xattrs, remote, versions, visible",
}
Plain = dict[bytes, tuple[object, ...]]


class Clock:
    """The time, which goes on by itself."""

    def __init__(self, now_ms: int = 1_700_000_000_000) -> None:
        self.now_ms = now_ms

    def __call__(self) -> int:
        self.now_ms += 1
        return self.now_ms


@contextmanager
def volume_store(directory: Path | None = None, seed: bytes = b"s" * 32) -> Iterator[VolumeStore]:
    """Store with an active author made from `seed`."""
    with TemporaryDirectory() as fresh:
        store = VolumeStore(VOLUME, (directory or Path(fresh)) / "volume")
        if store.active_author() is None:
            with store.db.transaction():
                store.add_author(AuthorId(SigningKey(seed).public), seed)
        try:
            yield store
        finally:
            store.close()


def walk(tree: Tree) -> dict[bytes, Entry]:
    """Every path that leads somewhere."""
    found: dict[bytes, Entry] = {}
    edge: list[tuple[NodeId, bytes]] = [(ROOT_ID, b"")]
    while edge:
        node, path = edge.pop()
        for entry in tree.children(node):
            full = path + b"/" + entry.name if path else entry.name
            found[full] = entry
            if entry.view.kind is Kind.DIRECTORY:
                edge.append((entry.node, full))
    return found


def plain(tree: Tree) -> Plain:
    """path -> kind, content, mode, node, dot."""
    return {path: _plain(tree, entry) for path, entry in walk(tree).items()}


def _plain(tree: Tree, entry: Entry) -> tuple[object, ...]:
    version = tree.version(entry.ino)
    content = content_of(version.body) if version else None
    return (entry.view.kind, content, entry.view.mode, entry.node, parse_token(entry.dot) if entry.dot else None)


def expected(states: dict[NodeId, NodeState]) -> Plain:
    """Names that the reference shows for the same states."""

    def shown(item: Shown) -> tuple[object, ...]:
        return (item.kind, item.content, item.mode, item.node, item.dot)

    return {path: shown(item) for path, item in project(states.values()).items()}


def derived(store: VolumeStore) -> dict[str, list[tuple[object, ...]]]:
    """Every row that has to depend on the states alone."""
    rows = {table: sorted(store.db.all(f"SELECT {columns} FROM {table}")) for table, columns in DERIVED.items()}
    rows["nodes"] = [row for row in rows["nodes"] if row[0] != ROOT_ID]
    return rows


def from_scratch(states: dict[NodeId, NodeState]) -> dict[str, list[tuple[object, ...]]]:
    with volume_store() as store:
        tree = Tree(store, Clock())
        with store.db.transaction():
            tree.apply(states.values())
        return derived(store)


def check_index(store: VolumeStore) -> None:
    """Check what holds between tables whatever happened."""
    nodes = store.nodes
    for node, kind, nlink, visible in store.db.all("SELECT node, kind, nlink, visible FROM nodes"):
        if kind == Kind.DIRECTORY:
            assert nlink == nodes.subdirectories(node)
        else:
            assert nlink == len(nodes.placements(node))
        assert bool(visible) == bool(node == ROOT_ID or nodes.placements(node))
    live = store.db.all("SELECT ino, node, dot FROM inodes WHERE detached IS NULL")
    for _ino, node, dot in live:
        if dot:
            assert any(entry.dot == dot for entry in nodes.entries_of_node(node))
        else:
            glance = nodes.glance(node)
            assert glance is not None
            assert glance[1]


class Mirror:
    """A cache of every name, fed by changes only: whoever follows them must never be wrong."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.names: dict[tuple[NodeId, bytes], Ino | None] = {}
        self.versions: dict[Ino, bytes] = {}
        self.numbers: dict[Ino, dict[bytes, Ino | None]] = {}
        """What each number of a directory shows, also those of directories that are shown as part of another one."""

    def follow(self, change: TreeChange) -> None:
        for entry in change.entries:
            assert entry.parent_ino == self.tree.find_ino(entry.parent)
            if entry.gone:
                assert (entry.parent, entry.name) in self.names
                del self.names[(entry.parent, entry.name)]
            else:
                self.names[(entry.parent, entry.name)] = entry.ino
        for entry in (*change.entries, *change.beside):
            if entry.parent_ino in self.numbers and entry.gone:
                self.numbers[entry.parent_ino].pop(entry.name, None)
            elif entry.parent_ino in self.numbers:
                self.numbers[entry.parent_ino][entry.name] = entry.ino
        for inode in change.inodes:
            if inode.ino in self.versions:
                assert self.versions[inode.ino] == inode.previous
            self.versions[inode.ino] = inode.now

    def look(self) -> None:
        """Look as a mount does that lists everything: compares, and gives inodes to all."""
        rows = self.tree.store.db.all("SELECT parent, name FROM entries")
        assert set(self.names) == {(row[0], row[1]) for row in rows}
        seen: dict[Ino, bytes] = {}
        for parent, name in self.names:
            entry = self.tree.lookup(parent, name)
            assert entry is not None
            known = self.names[(parent, name)]
            assert known in (None, entry.ino)
            self.names[(parent, name)] = entry.ino
            assert self.versions.get(entry.ino, entry.view.version) == entry.view.version
            seen[entry.ino] = entry.view.version
        self.versions = seen
        self._look_at_numbers()

    def _look_at_numbers(self) -> None:
        rows = self.tree.store.db.all("SELECT ino FROM inodes WHERE detached IS NULL")
        views = {Ino(row[0]): self.tree.view(Ino(row[0])) for row in rows}
        now: dict[Ino, dict[bytes, Ino | None]] = {}
        for ino, view in views.items():
            if view is not None and view.kind is Kind.DIRECTORY:
                now[ino] = {entry.name: entry.ino for entry in self.tree.children(view.node)}
                known = self.numbers.get(ino)
                if known is not None:
                    assert known.keys() == now[ino].keys()
                    assert all(known[name] in (None, number) for name, number in now[ino].items())
        self.numbers = now
