# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks of what has to hold when all is quiet: one tree everywhere, read as programs read it, and an index that is
what a projection from scratch gives."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from holofsd.check.fsck import FileCheck, look_at_copy
from holofsd.check.report import Report
from holofsd.codec.content import hash_bytes
from holofsd.core.ids import ROOT_INO, Ino, NodeId
from holofsd.core.project import base_of_conflict_name
from holofsd.core.state import Blob, Kind, Manifest, NodeState, Version
from holofsd.fs.settings import MAX_READ
from holofsd.store.volume import VolumeStore
from holofsd.tree.tree import Tree
from model.device import ModelDevice
from model.ledger import EMPTY
from model.looking import Looking
from tests.tree.harness import Clock, check_index, derived, volume_store, walk

Shown = tuple[object, ...]
TreeShown = dict[bytes, Shown]


class Unreadable(bytes):
    """Content that stands for a file whose content no honest device has."""


Read = Callable[[ModelDevice, Ino], Awaitable[bytes]]


async def tree_of(device: ModelDevice, read: Read | None = None) -> TreeShown:
    """path -> kind, mode, mtime, links, xattrs, content or target. `read` gives the content of a file."""
    found: TreeShown = {}
    await _list(device, ROOT_INO, b"", found, read or read_file)
    return found


async def _list(device: ModelDevice, ino: Ino, path: bytes, found: TreeShown, read: Read) -> None:
    fs, att = device.fs, device.att
    listing = await fs.read_dir(att, ino, b"", 0)
    assert listing.complete
    for name, attr in listing.entries:
        full = path + b"/" + name if path else name
        assert attr == await fs.lookup(att, ino, name), "a listing says what lookup says"
        names = await fs.list_xattr(att, attr.ino)
        xattrs = tuple([(x, await fs.get_xattr(att, attr.ino, x)) for x in names])
        if attr.kind is Kind.DIRECTORY:
            found[full] = (attr.kind, attr.mode, attr.nlink, xattrs)
            await _list(device, attr.ino, full, found, read)
            continue
        content = await fs.read_link(att, attr.ino) if attr.kind is Kind.SYMLINK else await read(device, attr.ino)
        if isinstance(content, Unreadable):
            found[full] = (attr.kind, content)
            continue
        assert len(content) == attr.size, f"{full!r} has {len(content)} bytes, its attributes say {attr.size}"
        found[full] = (attr.kind, attr.mode, attr.nlink, xattrs, attr.mtime_ns, content)


async def read_file(device: ModelDevice, ino: Ino) -> bytes:
    handle = -1
    await device.fs.open(device.att, ino, handle, write=False, truncate=False, base=b"")
    found = bytearray()
    try:
        while data := await device.fs.read(device.att, handle, len(found), MAX_READ):
            found += data
            if len(data) < MAX_READ:
                break
        return bytes(found)
    finally:
        await device.fs.release(device.att, handle)


def same_trees(names: list[str], trees: list[TreeShown]) -> list[str]:
    problems = []
    for name, tree in zip(names[1:], trees[1:], strict=True):
        for path in sorted(tree.keys() | trees[0].keys()):
            one, other = trees[0].get(path), tree.get(path)
            if one != other:
                problems.append(f"{path!r}: {names[0]} shows {_short(one)}, {name} shows {_short(other)}")
    return problems


def _short(shown: Shown | None) -> str:
    if shown is None:
        return "nothing"
    return str(tuple(part[:30] if isinstance(part, bytes) else part for part in shown))


def contents_of(tree: TreeShown) -> set[bytes]:
    files = (shown for shown in tree.values() if shown[0] is Kind.FILE)
    found: set[bytes] = {hash_bytes(shown[-1]) for shown in files if isinstance(shown[-1], bytes)}
    return found - {EMPTY}


def shown_by(actor: Looking) -> set[bytes]:
    """Contents that are shown, read through the index as `contents_of` reads the tree."""
    found: set[bytes] = set()
    for _path, entry in actor.entries():
        if entry.view.kind is Kind.FILE:
            found |= actor.contents(entry.ino)
    return found


def forgotten_by(actor: Looking, devices: list[ModelDevice]) -> list[str]:
    """Check that what its device showed when all was quiet is still shown, in its history or in its trash, and can be
    had."""
    if actor.thins:
        return []
    kept = kept_by(actor)
    name, label = actor.device.name, actor.ledger.label
    problems = [f"{name} forgot {label(digest)}, which it showed once" for digest in actor.remembers - kept.keys()]
    for digest in actor.remembers & kept.keys():
        body = kept[digest].body
        if isinstance(body, Blob | Manifest) and not any(device.store.content.has(body.hash) for device in devices):
            problems.append(f"{name} remembers {label(digest)}, and its bytes are nowhere")
    return problems


def kept_by(actor: Looking) -> dict[bytes, Version]:
    """Hash -> version of all that its device shows, has in its history or in its trash."""
    kept: dict[bytes, Version] = {}
    past = actor.device.fs.history.past
    for (node,) in actor.device.store.db.all("SELECT node FROM nodes"):
        kept.update((actor.content_of(item.version), item.version) for item in past.versions(NodeId(node)))
    return kept


async def found_by_a_person(actor: Looking) -> dict[bytes, Version]:
    """Hash -> version of all that a person gets on its device, by the history of a path or out of the trash."""
    history, found = actor.device.fs.history, dict[bytes, Version]()
    for path, entry in walk(actor.device.local.tree).items():
        if entry.view.kind is Kind.FILE:
            for item in history.restoring.history(path):
                found[actor.content_of(item.version)] = item.version
    for node, trashed in (await history.trash._all()).items():
        versions = [past.version for past in history.past.versions(node)]
        for version in (*versions, *([trashed.version] if trashed.version is not None else [])):
            found[actor.content_of(version)] = version
    return found


def count_conflicts(tree: TreeShown) -> int:
    return sum(base_of_conflict_name(path.rpartition(b"/")[2]) is not None for path in tree)


def folders_apart(tree: TreeShown) -> list[str]:
    """Folders never conflict with folders, and a file of their name gives way to them."""
    folders = [path for path, shown in tree.items() if shown[0] is Kind.DIRECTORY]
    return [
        f"{path!r} is a folder with the name of a conflict"
        for path in folders
        if base_of_conflict_name(path.rpartition(b"/")[2]) is not None
    ]


Facts = tuple[tuple[tuple[object, ...], ...], ...]
"""What an index follows from: each node's state as it is encoded, which content is here, and which folders that nobody
knows are not waited for any more."""
Projection = dict[str, list[tuple[object, ...]]]


def index_of(
    device: ModelDevice, known: dict[Facts, Projection], left_out: frozenset[NodeId] = frozenset()
) -> list[str]:
    """`known`: what other devices' facts come to, which are mostly the same. `left_out`: nodes of which it also depends
    on what was here before what is shown, and so what is shown at their names."""
    check_index(device.store)
    db = device.store.db
    nodes = db.all("SELECT node, state FROM nodes WHERE node!=? ORDER BY node", (bytes(16),))
    content = db.all("SELECT hash, size FROM content ORDER BY hash")
    given_up = db.all("SELECT parent FROM given_up ORDER BY parent")
    facts = (tuple(nodes), tuple(content), tuple(given_up))
    if facts not in known:
        states = [device.local.tree.state(NodeId(row[0])) for row in nodes]
        known[facts] = _from_scratch(device.store, [state for state in states if state is not None])
    here, fresh = derived(device.store), known[facts]
    if left_out:
        names = _names_of(here, left_out)
        here, fresh = ({t: _without(rows, left_out, names) for t, rows in side.items()} for side in (here, fresh))
    return [
        f"{device.name}: the index has in {table} {_difference(here[table], fresh[table])}"
        for table in here
        if here[table] != fresh[table]
    ]


def _names_of(rows: Projection, nodes: frozenset[NodeId]) -> set[bytes]:
    """Names in rows with one of these nodes: names and slots, of conflict copies too."""
    found = {part for table in ("placements", "entries") for row in rows[table] if nodes & set(row) for part in row}
    return {part for part in found if isinstance(part, bytes) and len(part) not in (16, 40)}


def _without(rows: list[tuple[object, ...]], nodes: frozenset[NodeId], names: set[bytes]) -> list[tuple[object, ...]]:
    return [row for row in rows if not nodes & set(row) and not names & set(row)]


async def fsck_of(device: ModelDevice) -> list[str]:
    """Findings of fsck, which a volume that is well has none of."""
    report = await _examined(device)
    if report.findings.keys() == {"content-stray"}:
        # A crash may leave that; the next collection of garbage after an hour sweeps it (docs/crash-windows.md).
        device.fs.history.retention.collector._orphan_s = -1.0
        await device.fs.history.retention.collect(0)
        report = await _examined(device)
    return [
        f"{device.name}: fsck finds {finding.count} {finding.code}: {finding.subjects[:3]}"
        for finding in report.findings.values()
    ]


async def _examined(device: ModelDevice) -> Report:
    while device.store.content._arriving:  # noqa: ASYNC110 (virtual time costs nothing)
        # Nobody wants it any more, but it was on its way: its row comes next.
        await asyncio.sleep(0.05)
    # Nothing moves while this looks: one look tells the truth, and no real time is waited for.
    return look_at_copy(device.store.volume, device.store.directory, device.id, files=FileCheck.HASHES)


def _difference(here: list[tuple[object, ...]], fresh: list[tuple[object, ...]]) -> str:
    return f"{[row for row in here if row not in fresh]}, from scratch {[row for row in fresh if row not in here]}"


def _from_scratch(store: VolumeStore, states: list[NodeState]) -> Projection:
    with tempfile.TemporaryDirectory(dir=store.directory.parent) as folder, volume_store(Path(folder)) as other:
        tree = Tree(other, Clock())
        with other.db.transaction():
            for row in store.db.all("SELECT hash, size, added_ms FROM content"):
                other.content.add(*row)
            other.nodes.strays.give_up(row[0] for row in store.db.all("SELECT parent FROM given_up"))
            tree.apply(states)
        return derived(other)
