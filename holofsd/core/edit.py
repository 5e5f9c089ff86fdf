# SPDX-License-Identifier: GPL-3.0-or-later
"""Local operations as changes of a state. Pure: the caller gives the new dot and stamp and stores the result.

Every register write stamps above what it replaces, even if the given stamp does not (`clock.above`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final, TypeVar

from blake3 import blake3

from holofsd.core import context as ctx
from holofsd.core.clock import above
from holofsd.core.errors import BadArgument, NameTooLong, TooManyLinks
from holofsd.core.ids import Dot, Hlc, LinkId, NodeId
from holofsd.core.kinds import bound_id, kind_of
from holofsd.core.node import (
    has_own_version,
    live_links,
    live_versions,
    outlived,
    placements,
    revived_placement,
)
from holofsd.core.project import conflict_name
from holofsd.core.state import Body, Kind, Link, NodeState, Place, Register, Removal, Version

T = TypeVar("T")

MAX_NAME: Final = 255
MAX_LINKS: Final = 1024
MODE_BITS: Final = 0o7777


# ---- names and ids ----
def is_valid_name(name: bytes) -> bool:
    """Whether a name can be shown; a name from elsewhere that cannot is quarantined by the projection."""
    return 0 < len(name) <= MAX_NAME and name not in (b".", b"..") and b"/" not in name and b"\0" not in name


def check_name(name: bytes) -> None:
    """Raises NameTooLong, or BadArgument for a name that no file can have."""
    if len(name) > MAX_NAME:
        raise NameTooLong(f"The name is {len(name)} bytes long; at most {MAX_NAME} are possible.")
    if not is_valid_name(name):
        raise BadArgument("A name cannot be empty, '.' or '..', and cannot hold '/' or NUL.")


def _digest(domain: bytes, *fields: bytes) -> bytes:
    hasher = blake3(domain)
    for value in fields:
        hasher.update(len(value).to_bytes(4, "big"))
        hasher.update(value)
    return hasher.digest(16)


def directory_id(parent: NodeId, name: bytes, known: int) -> NodeId:
    """The id of a directory that is the same on two devices that make it without knowing of each other: `lost+found`,
    and every directory of programs before 0030-folders.sql. Others have random ids (ADR 12).

    `known`: the smallest number whose id is not taken yet, so that a name used again gets a fresh directory.
    """
    return bound_id(Kind.DIRECTORY, _digest(b"holofs-directory-1", parent, name, known.to_bytes(8, "big")))


def split_id(node: NodeId, dot: Dot) -> NodeId:
    """The id of a version of `node` that became a node of its own: of the same kind, where the id of `node` says it."""
    digest, kind = _digest(b"holofs-split-1", node, dot.author, dot.counter.to_bytes(8, "big")), kind_of(node)
    return NodeId(digest) if kind is None else bound_id(kind, digest)


def link_id(node: NodeId, seed: bytes = b"") -> LinkId:
    """The id of a link of `node`: of its first one without a seed; a further hard link takes a random seed."""
    return LinkId(_digest(b"holofs-link-1", node, seed))


def link_for(state: NodeState, place: Place) -> LinkId:
    """The link register to write so that a node has this name (again): one that has or had it, else the first one."""
    same = [id for id, link in state.links.items() if place in (link.place, link.before)]
    return same[0] if same else next(iter(state.links), link_id(state.id))


# ---- registers ----
def _write(old: Register[T] | None, value: T, stamp: Hlc) -> Register[T]:
    return Register(value, above(stamp, old.stamp if old else None))


def with_mode(state: NodeState, mode: int, stamp: Hlc) -> NodeState:
    """Only the twelve permission bits are kept."""
    return replace(state, mode=_write(state.mode, mode & MODE_BITS, stamp))


def with_xattr(state: NodeState, name: bytes, value: bytes | None, stamp: Hlc) -> NodeState:
    """None removes the attribute."""
    return replace(state, xattrs={**state.xattrs, name: _write(state.xattrs.get(name), value, stamp)})


def with_mtime(state: NodeState, dot: Dot | None, mtime_ns: int, stamp: Hlc) -> NodeState:
    """Sets the time of a version of a file or symlink; `dot` is not looked at for a directory, whose time belongs to
    the node."""
    if state.kind is Kind.DIRECTORY:
        return replace(state, times=_write(state.times, mtime_ns, stamp))
    version = None if dot is None else state.versions.get(dot)
    if version is None:
        return state
    changed = replace(version, mtime=_write(version.mtime, mtime_ns, stamp))
    return replace(state, versions={**state.versions, version.dot: changed})


# ---- versions ----
def without_outlived(state: NodeState) -> NodeState:
    """The state without versions that were removed while another one kept the node; its context covers their dots.

    Done by each write of versions, links and removals: only the writer knows that a version outlived that removal. A
    later removal covers that version as well, and if it loses to a move, all that is in the state is live again.
    """
    ended = {version.dot for version in outlived(state)}
    if not ended:
        return state
    context = state.context
    for dot in ended:
        if not ctx.covers(context, dot):
            context = ctx.add(context, dot)
    return replace(state, context=context, versions={d: v for d, v in state.versions.items() if d not in ended})


def new_node(
    id: NodeId, kind: Kind, created_ns: int, place: Place, link: LinkId, version: Version, mode: int, stamp: Hlc
) -> NodeState:
    return NodeState(
        id,
        kind,
        created_ns,
        context={version.dot.author: version.dot.counter},
        versions={version.dot: version},
        links={link: Link(place, stamp)},
        mode=Register(mode & MODE_BITS, stamp),
    )


def with_version(state: NodeState, version: Version, supersedes: Iterable[Dot]) -> NodeState:
    """A write: adds `version` and ends exactly the versions it was based on.

    A version with the very content of one that it was based on ends as well: they show as one file, so the writer saw
    both. Everything else stays, beside the new version.
    """
    ended = set(supersedes)
    bodies = {state.versions[dot].body for dot in ended if dot in state.versions}
    state = without_outlived(state)
    kept = {d: v for d, v in state.versions.items() if d not in ended and v.body not in bodies}
    kept[version.dot] = version
    return replace(state, context=ctx.add(state.context, version.dot), versions=kept)


def with_body(state: NodeState, dot: Dot, body: Body) -> NodeState:
    """The same version, its content now known by hash. Unchanged if that version is gone."""
    version = state.versions.get(dot)
    if version is None or version.body == body:
        return state
    return replace(state, versions={**state.versions, dot: replace(version, body=body, seal=b"")})


def replace_content(
    target: NodeState, source: NodeState, version: Version, supersedes: Iterable[Dot], stamp: Hlc
) -> NodeState:
    """Replacing a file is a write: `target` gets `version`, and the mode and xattrs of `source`.

    `version` has the content that the name of `source` showed: not always that of its newest version, whose content may
    be on its way.
    """
    written = with_version(target, version, supersedes)
    mode = source.mode
    return replace(
        written,
        mode=written.mode if mode is None else _write(written.mode, mode.value, stamp),
        xattrs=_replaced_xattrs(written.xattrs, source.xattrs, stamp),
    )


def _replaced_xattrs(
    old: Mapping[bytes, Register[bytes | None]], new: Mapping[bytes, Register[bytes | None]], stamp: Hlc
) -> Mapping[bytes, Register[bytes | None]]:
    result = dict(old)
    for name in old.keys() | new.keys():
        before = old.get(name)
        value = new[name].value if name in new else None
        if (before.value if before else None) != value:
            result[name] = _write(before, value, stamp)
    return result


# ---- links ----
def with_link(state: NodeState, link: LinkId, place: Place, stamp: Hlc) -> NodeState:
    """One more name. Raises TooManyLinks beyond 1,024."""
    if len(live_links(state)) >= MAX_LINKS:
        raise TooManyLinks(f"The file has {MAX_LINKS} names already, and no more are possible.")
    return _write_link(state, link, place, stamp)


def _write_link(state: NodeState, link: LinkId, place: Place | None, stamp: Hlc) -> NodeState:
    state = with_real_name(without_outlived(state), link)
    old = state.links.get(link)
    before = (old.place or old.before) if old else None
    floor = None if old is None else max(old.stamp, state.removed.links.get(link, old.stamp))
    return replace(state, links={**state.links, link: Link(place, above(stamp, floor), before)})


def with_real_name(state: NodeState, other: LinkId | None = None) -> NodeState:
    """The node with a live link for the place that it came back at, if it has none; `other` is about to be written.

    Else the first live link would take that name away. The stamp is the least that no removal has seen, so that the
    name wins against no concurrent move, and the same on every device, so that a concurrent removal covers it.
    """
    if other in state.links and len(state.links) == 1:
        return state
    shown = revived_placement(state)
    if shown is None or shown.link is None or shown.link == other:
        return state
    link = _relinked(state, shown.link, shown.place, state.links[shown.link].stamp)
    return replace(state, links={**state.links, shown.link: link})


def moved(state: NodeState, link: LinkId, place: Place, stamp: Hlc) -> NodeState:
    """A rename: one register written, with the place before it. Other links that made the same name go with it."""
    return _write_link(_without_same_place(state, link, stamp), link, place, stamp)


def _without_same_place(state: NodeState, link: LinkId, stamp: Hlc) -> NodeState:
    """Two devices can give a node the same name through two links; a person sees one name, so they go together."""
    if len(state.links) < 2:
        return state
    own = state.links.get(link)
    for other, value in live_links(state).items():
        if own is not None and other != link and value.place == own.place:
            state = _write_link(state, other, None, stamp)
    return state


def without_links(state: NodeState, links: Iterable[LinkId], stamp: Hlc) -> NodeState:
    """Further links that made one name, because their directories are shown as one: they go with it."""
    for link in links:
        state = _write_link(state, link, None, stamp)
    return state


def unlinked(
    state: NodeState, link: LinkId, stamp: Hlc, unseen: Iterable[Dot] = (), at: Hlc | None = None
) -> NodeState:
    """A name is gone: its register while other links remain, else the node is removed (see `removed`).

    If the links are all that keeps the node, the newest of the others is written again: another device may remove that
    name meanwhile, because it sees this one. Of the two the later one then leaves a name, and not both none.
    """
    state = _without_same_place(state, link, stamp)
    rest = {i: value for i, value in live_links(state).items() if i != link}
    if not rest:
        return removed(state, unseen, at)
    state = _write_link(state, link, None, stamp)
    other = max(rest, key=lambda i: (rest[i].stamp, i))
    place = rest[other].place
    if has_own_version(state) or place is None:
        return state
    return replace(state, links={**state.links, other: _relinked(state, other, place, stamp)})


def removed(state: NodeState, unseen: Iterable[Dot] = (), at: Hlc | None = None) -> NodeState:
    """The node is removed, as far as it is known here: a version, move or link unknown to this state outlives it.

    The link keeps its place and stamp, so that a concurrent move wins whatever its stamp, and a node that lives on
    knows where it was. `unseen`: versions whose record is here but that nobody could see yet (content on its way);
    they outlive the removal too. `at`: when it was removed for its own sake; None if something else took its name.
    """
    state = with_real_name(without_outlived(state))
    context = dict(state.context)
    for dot in unseen:
        if dot in state.versions:
            context[dot.author] = min(context.get(dot.author, 0), dot.counter - 1)
    seen = {author: counter for author, counter in context.items() if counter}
    links = dict(state.removed.links)
    for i, link in state.links.items():
        if link.place is not None and (i not in links or links[i] < link.stamp):
            links[i] = link.stamp
    when = state.removed.at if at is None else {**state.removed.at, at.author: at}
    return replace(state, removed=Removal(ctx.merge(state.removed.context, seen), links, when))


def reasserted(state: NodeState, version: Version, stamp: Hlc) -> NodeState:
    """Alive again, with `version` in place of what was live, at the place that it has or was removed from."""
    places = placements(state, needed=True)
    state = with_version(state, version, [v.dot for v in live_versions(state)])
    for placement in places:
        if placement.revived and placement.link is not None:
            state = replace(
                state,
                links={**state.links, placement.link: _relinked(state, placement.link, placement.place, stamp)},
            )
    return state


def _relinked(state: NodeState, link: LinkId, place: Place, stamp: Hlc) -> Link:
    """Writes a link at the same place again; the place before stays, because a cycle falls back to it."""
    old = state.links[link]
    floor = max(old.stamp, state.removed.links.get(link, old.stamp))
    return Link(place, above(stamp, floor), old.before if old.place is not None else None)


# ---- you act on what you see ----
def split(state: NodeState, dot: Dot) -> NodeState:
    """The version `dot` as a node of its own, at the conflict names that showed it.

    Everything in it comes from `state`: two devices that split the same version make the same node, with the same link
    and the same dot (so that a removal by one of them that had seen the copy holds). Raises KeyError for a dot that is
    not there.
    """
    version = state.versions[dot]
    copy = split_id(state.id, dot)
    links: dict[LinkId, Link] = {}
    for placement in placements(state):
        name = conflict_name(placement.place.name, version.device_name, version.stamp.wall_ms, dot)
        links[link_id(copy, placement.link or b"")] = Link(Place(placement.place.parent, name), version.stamp)
    return NodeState(
        copy,
        state.kind,
        state.created_ns,
        context={dot.author: dot.counter},
        versions={dot: replace(version, origin=version.origin or state.id)},
        links=links,
        mode=state.mode,
        owner=state.owner,
        xattrs=state.xattrs,
    )


def siblings(state: NodeState) -> tuple[Version, ...]:
    """The live versions that are shown beside the name, newest first: neither the shown one nor of equal content."""
    live = live_versions(state)
    bodies = {v.body for v in live[:1]}
    beside: list[Version] = []
    for version in live[1:]:
        if version.body not in bodies:
            bodies.add(version.body)
            beside.append(version)
    return tuple(beside)


def materialise(
    state: NodeState,
    dot: Dot,
    stamp: Hlc,
    kept: Version | None = None,
    unseen: Iterable[Dot] = (),
    *,
    rewrite: bool = True,
    always: bool = False,
) -> tuple[NodeState, list[NodeState]]:
    """Makes the conflict copies of a file nodes of their own, before an operation acts on what it sees.

    Returns the state with `kept` (by default the version shown; with held-back content an earlier one) written anew as
    `dot` in place of all live versions, and the copies as new nodes, to be joined into whatever is known of them.
    Versions in `unseen` (content on its way, not shown yet) stay as they are. Without copies nothing is written.

    Written anew, because another device may keep a different version at the same time: merely dropping the others on
    both sides would leave the name with none. `rewrite` False: `kept` goes on under its own dot, because its content is
    not here. Then it is the newest live version, and of two devices that do this one holds the other's choice too.
    `always`: `kept` is written anew even without copies.
    """
    hidden = set(unseen)
    live = [v for v in live_versions(state) if v.dot not in hidden]
    kept = kept or (live[0] if live else None)
    if kept is None:
        return state, []
    split_off: list[NodeState] = []
    bodies = {kept.body}
    for version in live:
        if version.dot != kept.dot and version.body not in bodies:
            bodies.add(version.body)
            split_off.append(split(state, version.dot))
    if not live or not (split_off or always):
        return state, []
    if not rewrite:
        ended = {version.dot for version in live} - {kept.dot}
        state = without_outlived(state)
        return replace(state, versions={d: v for d, v in state.versions.items() if d not in ended}), split_off
    anew = Version(dot, above(stamp, live[0].stamp), kept.body, kept.size, kept.mtime, kept.device_name)
    return with_version(state, anew, [v.dot for v in live]), split_off
