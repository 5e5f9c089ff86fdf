# SPDX-License-Identifier: GPL-3.0-or-later
"""One volume as this device holds it: the tree, the clock and counter of its author, and who wants to know of changes.

fs and sync share it. Everything that changes it is called inside `store.db.transaction()`; subscribers are told after
the commit, on the loop, and have to be quick.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from holofsd.codec.signing import SigningKey
from holofsd.core.context import covers
from holofsd.core.edit import reasserted, with_body
from holofsd.core.errors import ContentUnavailable
from holofsd.core.ids import AuthorId, BlobHash, Dot, Hlc, Ino, NodeId
from holofsd.core.node import is_alive
from holofsd.core.project import token
from holofsd.core.state import Blob, Body, Inline, Manifest, Marker, NodeState, Pending, Register, Version
from holofsd.store.volume import VolumeStore
from holofsd.tree.changes import TreeChange
from holofsd.tree.clock import VolumeClock
from holofsd.tree.ignoring import Ignoring
from holofsd.tree.keeping_back import KeepingBack
from holofsd.tree.recording import STOOD_MS
from holofsd.tree.rotation import redotted, restamped, said_as_ours
from holofsd.tree.tree import Tree

_RENAMED: Final = 100_000
"""Dots that versions had before: more than files are open while any call waits."""
_LOOKED_AT: Final = 1_000
"""Removed directories that are looked at where some may show for ignored nodes alone."""
_STORED: Final = 1_000
"""Staging files that are remembered: more than are stored while any call waits."""


class _Elsewhere:
    def __repr__(self) -> str:
        return "ELSEWHERE"


ELSEWHERE: Final = _Elsewhere()
"""Origin of changes that were made on other devices."""

Subscriber = Callable[[TreeChange, object], None]


class LocalVolume:
    """Raises DamagedIndex if the volume has no author yet (`store.add_author` comes first)."""

    def __init__(
        self,
        store: VolumeStore,
        device_name: str,
        now_ms: Callable[[], int],
        now_ns: Callable[[], int] | None = None,
    ) -> None:
        """`now_ns`: see `Tree`."""
        self.store = store
        self.device_name = device_name
        self.now_ms = now_ms
        self.is_open: Callable[[Ino], bool] = lambda _ino: False
        """Set by fs: does anybody hold this inode open?"""
        self.reads_lists = False
        """Set by sync: whether content with a list of chunks can be fetched."""
        self.may_list: Callable[[], bool] = lambda: False
        """Set by sync: does large content that is sealed here get a list of chunks? Only programs that know lists can
        read it then."""
        self.tree = Tree(store, now_ms, lambda ino: self.is_open(ino), now_ns)
        self.ignoring = Ignoring(self.tree)
        self.keeping_back = KeepingBack(self, self.ignoring)
        self._clock = VolumeClock(store, now_ms)
        self._subscribers: list[Subscriber] = []
        self._on_outbox: list[Callable[[], None]] = []
        self._on_wanted: list[Callable[[], None]] = []
        self._current: dict[Dot, Dot] = {}
        """Dots and the one that the same version got next, the newest last."""
        self._stored: dict[str, Body | None] = {}
        """What staging files that are gone contained, the newest last; None: nothing that anybody needed."""

    # ---- numbers and stamps
    @property
    def author(self) -> AuthorId:
        return self._clock.author

    def limits(self) -> dict[AuthorId, int]:
        return self.store.documents.dot_limits()

    def next_dot(self) -> Dot:
        """Saved with the current transaction."""
        return self._clock.next_dot()

    @property
    def dots_given(self) -> int:
        """The counter of the last dot that the active author gave, in this transaction or before."""
        return self._clock.dots_given

    def stamp(self, above: Hlc | None = None) -> Hlc:
        """Saved with the current transaction."""
        return self._clock.stamp(above)

    def observe(self, stamp: Hlc) -> None:
        self._clock.observe(stamp)

    def new_version(
        self, body: Body, size: int, mtime_ns: int, above: Hlc | None = None, device_name: str = ""
    ) -> Version:
        """A version made now, here; `device_name`: of who wrote its content, if that is another device."""
        stamp = self.stamp(above)
        return Version(self.next_dot(), stamp, body, size, Register(mtime_ns, stamp), device_name or self.device_name)

    def current_dot(self, dot: Dot) -> Dot:
        """Returns what became of a dot that was remembered before the author was rotated."""
        while dot in self._current:
            dot = self._current[dot]
        return dot

    # ---- changes
    def write(
        self,
        states: Iterable[NodeState],
        *,
        publication_hold_ms: int = 0,
        origin: object = None,
        takeover: Mapping[Ino, NodeId] | None = None,
        detach_open: bool = False,
        fresh: Collection[NodeId] = (),
    ) -> TreeChange:
        """A local change: stores these states, which are edited already, and queues them for publication.

        `publication_hold_ms`: not published before this wall time (see Outbox.add). `takeover`, `detach_open`: see
        Tree.apply. `fresh`: nodes that a program has just made, which may be ignored (see KeepingBack.sort). A node
        that ends before it was ever published is forgotten. Raises ContentUnavailable for a version whose staging file
        is gone: somebody held it while it was stored, or while nothing needed it any more.
        """
        states = [self._with_true_sizes(self._as_stored(state)) for state in states]
        change = self.tree.apply(states, takeover=takeover, detach_open=detach_open)
        self._tell(change, origin)
        if self.ignoring.is_active:
            self.keeping_back.sort(states, change, fresh)
        now_ms = self.now_ms()
        for state in states:
            if is_alive(state) or not (self.keeping_back.forget_removed(state) or self._forget_unpublished(state)):
                self.store.outbox.add(state.id, now_ms, publication_hold_ms)
        self._tell_outbox()
        return change

    def _with_true_sizes(self, state: NodeState) -> NodeState:
        """A version made here of what another device wrote has the size that its content has, whatever that one said.
        What is published already stays as it is."""
        for dot, version in state.versions.items():
            if dot.author == self.author and dot.counter > self.store.documents.dots_of(dot.author):
                sized = self.tree.sized(version)
                if sized is not version:
                    state = replace(state, versions={**state.versions, dot: sized})
        return state

    def _as_stored(self, state: NodeState) -> NodeState:
        """Returns the state with the hash, or the bytes, of content that was in a staging file when the caller read of
        it."""
        for dot, version in state.versions.items():
            if isinstance(version.body, Pending) and version.body.staging in self._stored:
                body = self._stored[version.body.staging]
                if body is None:
                    raise ContentUnavailable("This content went while it was being stored: try again.")
                state = with_body(state, dot, body)
        return state

    def staging_went(self, files: Iterable[str], body: Body | None = None) -> None:
        """Remembers what staging files contained, once the transaction that removed them is committed. `body`: that, if
        it was not told before; None: nobody needed it."""
        for file in files:
            self._stored.setdefault(file, body)
        while len(self._stored) > _STORED:
            del self._stored[next(iter(self._stored))]

    def say_again(self, nodes: Iterable[NodeId]) -> None:
        """Publishes again what this device knows of these nodes, though nothing changed."""
        for node in nodes:
            self.store.outbox.add(node, self.now_ms())
        self._tell_outbox()

    def restate(self, states: Sequence[NodeState]) -> TreeChange:
        """Replaces what is stored by what the records say: see Tree.restate."""
        return self._told(self.tree.restate(states))

    def give_up(self, parents: Sequence[NodeId]) -> TreeChange:
        """Unknown directories are not waited for any more: see Tree.give_up."""
        return self._told(self.tree.give_up(parents))

    def place_due(self) -> bool:
        """Places some of what is due, see Tree.place_due; False if nothing is."""
        change = self.tree.place_due()
        if change is not None:
            self._told(change)
        return change is not None

    def merge(self, states: Sequence[NodeState], known: Mapping[NodeId, NodeState | None] | None = None) -> TreeChange:
        """Records from elsewhere, verified and clipped. `known`: see Tree.merge."""
        for state in states:
            self._clock.observe_state(state)
        if self.store.nodes.is_any_pending() and self._keep_pending(states):
            known = None
        if not self.store.ignored.is_any:
            return self._told(self.tree.merge(states, known))
        self.keeping_back.arrived(states)
        change = self._told(self.tree.merge(states, known))
        self.keeping_back.publish_above(state.id for state in states)
        return change

    def _keep_pending(self, records: Sequence[NodeState]) -> bool:
        """Content that is not hashed yet was never published, so it is a lie that somebody replaced or removed it: it
        gets a dot of which no record can know. (Our head can vouch for the one it has: counters run over all files.)
        """
        given: dict[Dot, Dot] = {}
        pending = self.store.nodes.pending_nodes()
        states: dict[NodeId, NodeState] = {}
        for record in records:
            state = states.get(record.id) or (self.tree.state(record.id) if record.id in pending else None)
            for dot, version in state.versions.items() if state is not None else ():
                claimed = covers(record.context, dot) or covers(record.removed.context, dot)
                if state is not None and claimed and isinstance(version.body, Pending):
                    given[dot] = self.next_dot()
                    states[record.id] = state = said_as_ours(state, (dot,), given.__getitem__)
        if given:
            self._renamed(given)
            self.write(states.values())
        return bool(given)

    def content_arrived(self, *blobs: BlobHash) -> TreeChange:
        """Call it after `content.add`, in the same transaction."""
        return self._told(self.tree.content_arrived(*blobs))

    def content_lost(self, blob: BlobHash, nodes: Iterable[NodeId]) -> TreeChange:
        """Call it after `content.lost`: these nodes want it again."""
        return self._told(self.tree.refresh(nodes))

    def body_known(self, node: NodeId, dot: Dot, body: Blob | Manifest | Inline, staging: str = "") -> TreeChange:
        """Hashing finished: Pending -> `body`, in every version that has this staging file as its content.

        The version may have been superseded, moved to another node (rename over), split or restamped meanwhile. For a
        Blob call `content.place` and `content.add` before, and `staging.remove` after, in the same transaction.
        """
        files = self._staging_of(node, dot) | ({staging} if staging else set())
        states: dict[NodeId, NodeState] = {}
        for file in files:
            for holder in {node, *self.store.nodes.pending_in(file)}:
                state = states.get(holder) or self.tree.state(holder)
                if state is not None:
                    states[holder] = _hashed(state, file, body)
            self.store.nodes.forget_pending(file)
        self.store.db.after_commit(lambda: self.staging_went(files, body))
        changed = [state for state in states.values() if state is not self.tree.state(state.id)]
        change = self.tree.apply(changed)
        if isinstance(body, Blob | Manifest):
            change.merge(self.tree.content_arrived(body.hash))
        for state in changed:
            self.store.outbox.add(state.id, self.now_ms())
        self._tell(change, None)
        if changed:
            self._tell_outbox()
        return change

    def reassert_revived(self, limit: int = 200) -> TreeChange:
        """Removed directories that are shown because somebody else put something into them become real again.

        For sync to call when everything received is merged (before that the child's removal may be on its way), on a
        device that may write.
        """
        states = []
        looked_at = self.store.nodes.revived(_LOOKED_AT if self.store.ignored.is_any else limit)
        for node in [node for node in looked_at if self.keeping_back.is_needed(node)][:limit]:
            state = self.tree.state(node)
            if state is not None:
                version = self.new_marker(state)
                states.append(reasserted(state, version, version.stamp))
        return self.write(states) if states else TreeChange()

    def new_marker(self, state: NodeState) -> Version:
        """A version of a directory, made now."""
        return self.new_version(Marker(), 0, state.created_ns)

    def anew(self, version: Version) -> Version:
        """The same content, as a version that no removal has seen."""
        stamp = self.stamp(version.stamp)
        return Version(self.next_dot(), stamp, version.body, version.size, version.mtime, version.device_name)

    def _forget_unpublished(self, state: NodeState) -> bool:
        """Only what nobody else can know, and is new: neither published, nor made of what was (a split)."""
        node, documents = state.id, self.store.documents
        if any(v.stamp.wall_ms + STOOD_MS < self.now_ms() for v in state.versions.values()):
            return False  # it was there long enough to be somebody's file: it goes to the trash
        if documents.is_known(node) or self.store.nodes.placed_under(node) is not None:
            return False
        head = documents.head(self.author)
        published = head.dots if head else 0
        if not all(author == self.author and counter > published for author, counter in state.context.items()):
            return False
        self.tree.forget(node)
        self.store.outbox.remove(node)
        return True

    def _staging_of(self, node: NodeId, dot: Dot) -> set[str]:
        dots = {dot, self.current_dot(dot)}
        state = self.tree.state(node)
        versions = [state.versions[d] for d in dots if d in state.versions] if state is not None else []
        found = {v.body.staging for v in versions if isinstance(v.body, Pending)}
        return found.union(*(self.store.staging.finalized_as(token(d)) for d in dots))

    # ---- authors
    def rotate_author(self, seed: bytes) -> None:
        """Start a new author. What the former ones never published gets dots of the new one.

        The reasons are in docs/model.md#authors-clocks-and-copies.
        """
        former = self.store.own_authors()
        limits = self.limits()  # of folded authors too: what they published stays published without their records
        published = {author: limits.get(author, 0) for author in former}
        self.store.add_author(AuthorId(SigningKey(seed).public), seed)
        self._clock = VolumeClock(self.store, self.now_ms)
        given: dict[Dot, Dot] = {}

        def new_dot(dot: Dot) -> Dot:
            if dot not in given:
                given[dot] = self.next_dot()
            return given[dot]

        states = []
        for node in self.store.outbox.all():
            state = self.tree.state(node)
            if state is not None:
                changed = restamped(state, published, new_dot)
                if changed is not state:
                    states.append(changed)
        self._renamed(given)
        self.write(states)

    def adopt(self, author: AuthorId, nodes: Iterable[NodeId]) -> TreeChange:
        """Says as ours what that author said of these nodes, because others will not hear it from there."""
        given: dict[Dot, Dot] = {}

        def new_dot(dot: Dot) -> Dot:
            if dot not in given:
                given[dot] = self.next_dot()
            return given[dot]

        known = (self.tree.state(node) for node in nodes)
        states = [redotted(state, author, new_dot) for state in known if state is not None]
        self._renamed(given)
        return self.write(states)

    def say_as_ours(self, node: NodeId, dots: Collection[Dot]) -> None:
        """Says as ours these versions of others, of which nobody can be shown that their authors said them."""
        state = self.tree.state(node)
        given = {dot: self.next_dot() for dot in dots if state is not None and dot in state.versions}
        if state is not None and given:
            self._renamed(given)
            self.write([said_as_ours(state, given, given.__getitem__)])

    def write_renamed(self, make: Callable[[Callable[[Dot], Dot]], NodeState]) -> None:
        """Writes the state that `make` returns; it calls its argument with each dot of a version for the next one."""
        given: dict[Dot, Dot] = {}

        def new_dot(dot: Dot) -> Dot:
            if dot not in given:
                given[dot] = self.next_dot()
            return given[dot]

        state = make(new_dot)
        self._renamed(given)
        self.write([state])

    def _renamed(self, given: Mapping[Dot, Dot]) -> None:
        """Makes tokens of renamed versions lead to the new ones."""
        self._current.update(given)
        while len(self._current) > _RENAMED:
            del self._current[next(iter(self._current))]
        tokens = {token(old): token(new) for old, new in given.items()}
        self.store.staging.renamed(tokens)
        self.store.nodes.rename_copies(tokens)

    # ---- who wants to know
    def subscribe(self, callback: Subscriber) -> Callable[[], None]:
        """`callback(change, origin)` after each commit that changed something; returns how to stop it."""
        self._subscribers.append(callback)
        return lambda: self._subscribers.remove(callback)

    def on_outbox(self, callback: Callable[[], None]) -> Callable[[], None]:
        """There may be something to publish."""
        self._on_outbox.append(callback)
        return lambda: self._on_outbox.remove(callback)

    def on_wanted(self, callback: Callable[[], None]) -> Callable[[], None]:
        """There is new content to fetch."""
        self._on_wanted.append(callback)
        return lambda: self._on_wanted.remove(callback)

    def release(self, node: NodeId) -> None:
        """The node may be published now."""
        self.store.outbox.release(node)
        self._tell_outbox()

    def _told(self, change: TreeChange) -> TreeChange:
        self._tell(change, ELSEWHERE)
        return change

    def _tell(self, change: TreeChange, origin: object) -> None:
        if not change:
            return
        self.ignoring.note(change)
        if change.wants_content:
            self.store.db.after_commit(lambda: _call(self._on_wanted))

        def tell() -> None:
            for callback in list(self._subscribers):
                callback(change, origin)

        self.store.db.after_commit(tell)

    def _tell_outbox(self) -> None:
        self.store.db.after_commit(lambda: _call(self._on_outbox))


def _call(callbacks: list[Callable[[], None]]) -> None:
    for callback in list(callbacks):
        callback()


def _hashed(state: NodeState, staging: str, body: Body) -> NodeState:
    for dot, version in state.versions.items():
        if version.body == Pending(staging):
            state = with_body(state, dot, body)
    return state
