# SPDX-License-Identifier: GPL-3.0-or-later
"""The reference: a whole set of states projected to one tree at once, and pure devices that make such states.

The incremental projection in `holofsd.tree` has to agree with `tree_of`; with both the properties of `holofsd.core`
are tested.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from holofsd.codec.records import decode_state, encode_state
from holofsd.core import edit
from holofsd.core.clock import HybridClock
from holofsd.core.cycles import Moved, resolve_cycles
from holofsd.core.ids import ROOT_ID, AuthorId, Dot, Hlc, LinkId, NodeId
from holofsd.core.join import join
from holofsd.core.lost import LOST_ID, UNMADE, shown_placements
from holofsd.core.node import Placement, is_alive, live_links, live_versions
from holofsd.core.project import Candidate, project_slot
from holofsd.core.state import Blob, Body, Inline, Kind, Marker, NodeState, Place, Register, Target, Version
from support.states import shown_version

States = Mapping[NodeId, NodeState]
Content = bytes | None
Plain = dict[bytes, tuple[Kind, Content, int | None]]


@dataclass(frozen=True)
class Shown:
    """Content and kind that one path shows."""

    kind: Kind
    content: Content
    mode: int | None
    node: NodeId
    dot: Dot | None
    twins: tuple[NodeId, ...]
    placement: Placement


# ---- the reference projection ----
def tree_of(states: Iterable[NodeState]) -> Plain:
    """path -> (kind, content, mode): inline bytes, the hash of a blob, a symlink's target, None for directories."""
    return {path: (shown.kind, shown.content, shown.mode) for path, shown in project(states).items()}


def project(states: Iterable[NodeState]) -> dict[bytes, Shown]:
    known = {LOST_ID: UNMADE, **{state.id: state for state in states}}
    found = _visible(known)
    slots: dict[NodeId, dict[bytes, list[Candidate]]] = {}
    for node, names in found.items():
        for placement in names:
            slot = slots.setdefault(placement.place.parent, {}).setdefault(placement.place.name, [])
            slot.append(Candidate(known[node], placement))
    tree: dict[bytes, Shown] = {}
    _descend((ROOT_ID,), b"", False, known, slots, tree)
    return tree


def _visible(known: States) -> dict[NodeId, tuple[Placement, ...]]:
    """The effective placements of every visible node.

    Cycles are resolved among all directories, dead ones too: one that is not needed can only be in cycles with others
    that are not needed either, so that it makes no difference, and what is needed then follows in one pass upwards.
    """
    known = {LOST_ID: UNMADE, **known}
    wanted = {i: shown_placements(s, needed=True) for i, s in known.items() if s.kind is Kind.DIRECTORY}
    moves = {
        node: Moved(p[0].place, p[0].stamp, _valid_place(p[0].before), is_alive(known[node]))
        for node, p in wanted.items()
        if p
    }
    overrides = resolve_cycles(moves)
    for node, place in overrides.items():
        wanted[node] = (replace(wanted[node][0], place=place),)
    wanted = {node: _found(names, known) for node, names in wanted.items()}
    found: dict[NodeId, tuple[Placement, ...]] = {}
    for node, state in known.items():
        names = _found(shown_placements(state), known)
        if names:
            found[node] = wanted[node] if state.kind is Kind.DIRECTORY else names
    edge = list(found)
    while edge:
        parents = {p.place.parent for node in edge for p in found[node]}
        edge = [parent for parent in parents if parent not in found and wanted.get(parent)]
        found.update({parent: wanted[parent] for parent in edge})
    return found


def _found(names: tuple[Placement, ...], known: States) -> tuple[Placement, ...]:
    """Names as they are shown: a node with all its names in what is no directory is in `lost+found`.

    An unknown directory may be on its way.
    """
    parents = [p.place.parent for p in names]
    if any(parent == ROOT_ID or (parent in known and known[parent].kind is Kind.DIRECTORY) for parent in parents):
        return names
    lost = {i: LOST_ID if i in known else i for i in parents}
    return tuple(replace(p, place=Place(lost[p.place.parent], p.place.name)) for p in names)


def _valid_place(place: Place | None) -> Place | None:
    return place if place is not None and edit.is_valid_name(place.name) else None


def _descend(
    group: tuple[NodeId, ...],
    path: bytes,
    hide: bool,
    known: States,
    slots: Mapping[NodeId, Mapping[bytes, list[Candidate]]],
    tree: dict[bytes, Shown],
) -> None:
    """`group`: all directories at this path, which are shown as one."""
    here: dict[bytes, list[Candidate]] = {}
    for parent in group:
        for name, candidates in slots.get(parent, {}).items():
            here.setdefault(name, []).extend(candidates)
    for name, candidates in here.items():
        by_id = {c.state.id: c for c in candidates}
        entries = project_slot(name, candidates, here.__contains__)
        for entry in entries[:1] if hide else entries:
            full = path + b"/" + entry.name if path else entry.name
            assert full not in tree, f"two entries at {full!r}"
            state = known[entry.node]
            version = state.versions[entry.dot] if entry.dot else shown_version(state)
            together = (entry.node, *entry.twins) if state.kind is Kind.DIRECTORY else (entry.node,)
            modes = [m for node in together if (m := known[node].mode)]
            mode = max(modes, key=lambda m: (m.stamp, m.value)).value if modes else None
            tree[full] = Shown(
                state.kind,
                content_of(version.body if version else None),
                mode,
                entry.node,
                entry.dot,
                entry.twins,
                by_id[entry.node].placement,
            )
            if state.kind is Kind.DIRECTORY:
                _descend(together, full, hide or entry.name == b".git", known, slots, tree)


def content_of(body: Body | None) -> Content:
    if isinstance(body, Inline):
        return body.data
    if isinstance(body, Blob):
        return body.hash
    return body.path if isinstance(body, Target) else None


# ---- devices without disk or network ----
@dataclass
class Device:
    """Edits states as the filesystem does, and keeps every record that it ever made.

    Operations name paths and are ignored where they make no sense, so that random programs run.
    """

    name: str
    skew_ms: int = 0
    states: dict[NodeId, NodeState] = field(default_factory=dict)
    log: list[tuple[AuthorId, bytes]] = field(default_factory=list)
    dots: int = 0
    now_ms: int = 1_700_000_000_000

    def __post_init__(self) -> None:
        self.author = AuthorId(self.name.encode().ljust(32, b"-"))
        self.clock = HybridClock(self.author)

    # -- the three ways in which states change --
    def put(self, *states: NodeState) -> None:
        for state in states:
            self.states[state.id] = state
            self.log.append((self.author, encode_state(state)))

    def receive(self, record: bytes) -> None:
        state = decode_state(record)
        mine = self.states.get(state.id)
        self.states[state.id] = state if mine is None else join(mine, state)
        for stamp in (link.stamp for link in state.links.values()):
            self.clock.observe(stamp, self.now_ms + self.skew_ms)

    def sync_from(self, other: Device) -> None:
        for state in list(other.states.values()):
            self.receive(encode_state(state))

    # -- helpers --
    def tree(self) -> dict[bytes, Shown]:
        return project(self.states.values())

    def stamp(self) -> Hlc:
        self.now_ms += 1000
        return self.clock.tick(self.now_ms + self.skew_ms)

    def version(self, body: Body) -> Version:
        self.dots += 1
        stamp = self.stamp()
        size = len(content_of(body) or b"")
        return Version(Dot(self.author, self.dots), stamp, body, size, Register(stamp.wall_ms, stamp), self.name)

    def parent_of(self, path: bytes) -> tuple[NodeId, bytes] | None:
        folder, _, name = path.rpartition(b"/")
        if not folder:
            return ROOT_ID, name
        shown = self.tree().get(folder)
        return (shown.node, name) if shown and shown.kind is Kind.DIRECTORY else None

    # -- operations --
    def _make(self, path: bytes, kind: Kind, body: Body) -> NodeId | None:
        where = self.parent_of(path)
        if where is None or path in self.tree():
            return None
        version = self.version(body)
        node = edit.split_id(NodeId(b"random-for-tests"), version.dot)
        place = Place(*where)
        mode = 0o755 if kind is Kind.DIRECTORY else 0o644
        created_ns = version.stamp.wall_ms * 1_000_000
        self.put(edit.new_node(node, kind, created_ns, place, edit.link_id(node), version, mode, version.stamp))
        return node

    def mkdir(self, path: bytes) -> NodeId | None:
        return self._make(path, Kind.DIRECTORY, Marker())

    def symlink(self, path: bytes, target: bytes) -> NodeId | None:
        return self._make(path, Kind.SYMLINK, Target(target))

    def write(self, path: bytes, data: bytes) -> None:
        """Creates the file, or writes it: also a conflict copy, which becomes a file first."""
        shown = self.tree().get(path)
        if shown is None:
            self._make(path, Kind.FILE, Inline(data))
        elif shown.kind is Kind.FILE:
            for node in self._act_on(shown) if shown.dot else (shown.node, *shown.twins):
                state = self.states[node]
                base = shown_version(state)
                self.put(edit.with_version(state, self.version(Inline(data)), [base.dot] if base else []))

    def unlink(self, path: bytes) -> None:
        shown = self.tree().get(path)
        if shown is None or shown.kind is Kind.DIRECTORY:
            return
        for node in self._act_on(shown):
            self.put(edit.unlinked(self.states[node], self._link_at(node, path), self.stamp()))

    def rmdir(self, path: bytes) -> None:
        tree = self.tree()
        shown = tree.get(path)
        if shown is None or shown.kind is not Kind.DIRECTORY or any(p.startswith(path + b"/") for p in tree):
            return
        for node in (shown.node, *shown.twins):
            if node not in self.states:
                continue  # `lost+found`, of which nobody said anything
            self.put(edit.unlinked(self.states[node], self._link_at(node, path), self.stamp()))

    def rename(self, old: bytes, new: bytes) -> None:
        tree = self.tree()
        shown = tree.get(old)
        where = self.parent_of(new)
        if shown is None or where is None or new in tree or (new + b"/").startswith(old + b"/"):
            return
        if LOST_ID in (shown.node, *shown.twins):
            return
        for node in self._act_on(shown):
            self.put(edit.moved(self.states[node], self._link_at(node, old), Place(*where), self.stamp()))

    def replace(self, old: bytes, new: bytes) -> None:
        """A rename over another file: a write to the target."""
        tree = self.tree()
        source, target = tree.get(old), tree.get(new)
        if source is None or target is None or old == new or Kind.FILE is not source.kind or source.kind != target.kind:
            return
        if source.twins or target.twins or source.dot or target.dot or source.node == target.node:
            return
        state, moving = self.states[target.node], self.states[source.node]
        if len(live_links(moving)) != 1 or len(live_links(state)) != 1 or edit.siblings(moving):
            return
        base = shown_version(state)
        version = self.version(Inline(source.content or b""))
        self.put(
            edit.replace_content(state, moving, version, [base.dot] if base else [], version.stamp),
            edit.removed(moving),
        )

    def link(self, old: bytes, new: bytes) -> None:
        tree = self.tree()
        shown, where = tree.get(old), self.parent_of(new)
        if shown is None or where is None or new in tree or shown.kind is Kind.DIRECTORY or shown.dot or shown.twins:
            return
        stamp = self.stamp()
        link = edit.link_id(shown.node, repr(stamp).encode())
        self.put(edit.with_link(self.states[shown.node], link, Place(*where), stamp))

    def chmod(self, path: bytes, mode: int) -> None:
        shown = self.tree().get(path)
        if shown is not None:
            for node in (shown.node, *shown.twins):
                self.put(edit.with_mode(self.states.get(node, UNMADE), mode, self.stamp()))

    def _act_on(self, shown: Shown) -> list[NodeId]:
        """The nodes that stand for a name once its copies have become nodes of their own."""
        nodes = [shown.node, *shown.twins]
        for node in nodes:
            state = self.states[node]
            if state.kind is Kind.FILE and edit.siblings(state):
                self.dots += 1
                remaining, copies = edit.materialise(state, Dot(self.author, self.dots), self.stamp())
                known = [join(self.states[c.id], c) if c.id in self.states else c for c in copies]
                self.put(remaining, *known)
        if shown.dot is None:
            return nodes
        return [edit.split_id(shown.node, shown.dot)]

    def _link_at(self, node: NodeId, path: bytes) -> LinkId:
        """The link of `node` that makes this path (a conflict name comes from the placement with the original name)."""
        names = shown_placements(self.states[node], needed=True)
        name = path.rpartition(b"/")[2]
        best = next((p for p in names if p.place.name == name), names[0])
        assert best.link is not None
        return best.link


def everything(devices: Iterable[Device]) -> list[tuple[AuthorId, bytes]]:
    return [record for device in devices for record in device.log]


def joined(records: Iterable[bytes]) -> dict[NodeId, NodeState]:
    states: dict[NodeId, NodeState] = {}
    for record in records:
        state = decode_state(record)
        mine = states.get(state.id)
        states[state.id] = state if mine is None else join(mine, state)
    return states


def meet(*devices: Device) -> None:
    """All learn everything from all."""
    for _ in range(2):
        for device in devices:
            for other in devices:
                if other is not device:
                    device.sync_from(other)


def live_contents(state: NodeState) -> set[Content]:
    return {content_of(version.body) for version in live_versions(state)}
