# SPDX-License-Identifier: GPL-3.0-or-later
"""View of an actor on its device at this moment, and what it tells the ledger of it."""

from __future__ import annotations

from dataclasses import dataclass

from holofsd.codec.content import hash_bytes
from holofsd.core.errors import NoSuchName
from holofsd.core.ids import ROOT_ID, Ino, NodeId
from holofsd.core.project import base_of_conflict_name
from holofsd.core.state import Blob, Inline, Kind, Pending, Version
from holofsd.tree.views import Entry
from model.chance import is_dead
from model.device import ModelDevice
from model.ledger import EMPTY, Ledger

SIZES = (12, 12, 12, 300, 4096, 4200, 20_000, 70_000, 200_000)
NAMES = (b"a", b"b", b"c.txt", b"d.txt", b"e")
FOLDERS = (b"x", b"y", b"z", b".git")
Numbers = tuple[int, ...]


@dataclass
class Held:
    """An open file."""

    handle: int
    ino: Ino
    write: bool
    seen: bytes
    """Token of the version it was opened with..."""
    saw: set[bytes]
    """... and the hashes of what it showed then."""
    staged: bool = False
    unanswered: bytes | None = None
    """What was written through it and not acknowledged yet."""


class Looking:
    def __init__(self, device: ModelDevice, ledger: Ledger) -> None:
        self.device = device
        self.ledger = ledger
        self.held: list[Held] = []
        self.unlinked: set[Ino] = set()
        """Inodes that an operation here took the last name from: what handles of them write is nobody's."""
        self.remembers: set[bytes] = set()
        """Contents that its device once showed when all was quiet, and that nobody let go of."""
        self.thins = False
        """History may drop versions by its policy: the clock said that much time had passed."""
        self.muted = False
        """Its device was removed, or may only read: what it is answered before it knows is not owed."""
        self.where = ""
        self._handles = 0

    def may_let_go(self) -> bool:
        """Whether no device lacks content, of what this one wrote last either. Else it may be what this device alone
        has, of a file that was removed here and is moved elsewhere: it would be missing for ever, and rightly so."""
        others = [device for device in self.ledger.devices if device is not self.device]
        return not self.device.store.outbox.count() and all(self._has_all(other) for other in others)

    def _has_all(self, other: ModelDevice) -> bool:
        """Whether the other one has heard all that this device has, and has the content."""
        heads = other.heads() if other.is_up else {}
        heard = all(author in heads and heads[author][0] >= seq for author, (seq, _) in self.device.heads().items())
        return heard and other.store.content.missing() == (0, 0)

    # ---- looking
    def entries(self) -> list[tuple[bytes, Entry]]:
        """(path, entry) of everything, in order."""
        found: list[tuple[bytes, Entry]] = []
        edge: list[tuple[NodeId, bytes]] = [(ROOT_ID, b"")]
        while edge:
            node, path = edge.pop()
            for entry in self.device.local.tree.children(node):
                full = path + b"/" + entry.name if path else entry.name
                found.append((full, entry))
                if entry.view.kind is Kind.DIRECTORY and full.count(b"/") < 6:
                    edge.append((entry.node, full))
        return sorted(found, key=lambda item: item[0])

    def pick(self, number: int, *kinds: Kind, copies: bool = False) -> Entry | None:
        found = [entry for _, entry in self.entries() if entry.view.kind in kinds]
        if copies:
            found = [entry for entry in found if base_of_conflict_name(entry.name) is not None]
        return found[number % len(found)] if found else None

    def folder(self, number: int) -> Ino:
        """Mostly the root, so that devices meet."""
        folders = [entry.ino for _, entry in self.entries() if entry.view.kind is Kind.DIRECTORY]
        choices = [self.root, self.root, *folders]
        return choices[number % len(choices)]

    @property
    def root(self) -> Ino:
        return self.device.local.store.nodes.ino_of(ROOT_ID)

    def slot(self, number: int, names: tuple[bytes, ...] = NAMES) -> tuple[Ino, bytes]:
        return self.folder(number // len(names)), names[number % len(names)]

    def find(self, parent: Ino, name: bytes) -> Entry | None:
        view = self.device.local.tree.view(parent)
        return self.device.local.tree.lookup(view.node, name) if view is not None else None

    def place(self, entry: Entry) -> tuple[Ino, bytes]:
        """The number of its directory, and its name. Raises NoSuchName where that directory has gone meanwhile."""
        nodes = self.device.local.store.nodes
        glance = nodes.glance(entry.parent)
        if entry.parent != ROOT_ID and (glance is None or not glance[1]):
            raise NoSuchName("There is no such file or directory.")
        return nodes.ino_of(entry.parent), entry.name

    def contents(self, ino: Ino) -> set[bytes]:
        """Hashes of what an inode shows: of its version, and of what is being written on top of it."""
        device = self.device
        found: set[bytes] = set()
        staged = device.fs._staged.of(ino)
        if staged is not None:
            found.add(hash_bytes(staged.path.read_bytes()))
        version = device.local.tree.version(ino)
        if version is not None:
            found.add(self.content_of(version))
        return found - {EMPTY}

    def content_of(self, version: Version) -> bytes:
        """The hash of a version's content; that of nothing for what is no file."""
        body = version.body
        if isinstance(body, Inline):
            return hash_bytes(body.data)
        if isinstance(body, Pending):
            return hash_bytes(self.device.store.staging.path(body.staging).read_bytes())
        return body.hash if isinstance(body, Blob) else EMPTY

    # ---- the ledger
    def acts_on(self, ino: Ino) -> None:
        """Note that what is shown there is replaced or removed now."""
        if is_dead():
            return
        for digest in self.contents(ino):
            self.ledger.supersede(digest, self.where)

    def loses_name(self, entry: Entry) -> None:
        """A name is about to go; with the last one what it shows goes, and open files of it are nobody's."""
        for digest in self.device.hidden(entry.parent, entry.slot):
            self.ledger.supersede(digest, self.where)
        if entry.view.kind is Kind.FILE and entry.view.nlink <= 1:
            self.acts_on(entry.ino)
            self.unlinked.add(entry.ino)

    def answered(self, ino: Ino, data: bytes) -> None:
        self.ledger.made(data)
        if ino not in self.unlinked and not is_dead() and not self.muted:
            self.ledger.acknowledge(data, self.where)
