# SPDX-License-Identifier: GPL-3.0-or-later
"""Join of two states of one node: commutative, associative, idempotent, for every state `codec.records` can produce.

Each part is a join of its own: versions by dotted version vectors (Preguiça et al. 2012), registers and links by the
greatest stamp, the removal by its parts. Where two values claim the same stamp or dot (a fork, or a hostile writer)
the greater by an arbitrary total order wins, so that all devices still agree.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final, TypeVar

from holofsd.core import context as ctx
from holofsd.core.ids import AuthorId, Dot, Hlc, LinkId
from holofsd.core.state import (
    Blob,
    Body,
    Chunks,
    Inline,
    Kind,
    Link,
    Manifest,
    Marker,
    NodeState,
    Pending,
    Place,
    Register,
    Removal,
    Target,
    Version,
)

K = TypeVar("K")
V = TypeVar("V")
T = TypeVar("T")

_KIND_RANK: Final = {Kind.SYMLINK: 0, Kind.FILE: 1, Kind.DIRECTORY: 2}
"""Two kinds under one id are somebody's lie. A directory wins: calling it a file would take a whole subtree along."""


def join(a: NodeState, b: NodeState) -> NodeState:
    """Joins two states into what a device knows that has heard both. Raises ValueError if they are not states of the
    same node."""
    if a is b:
        return a
    if a.id != b.id:
        raise ValueError("states of different nodes cannot be joined")
    joined = NodeState(
        a.id,
        a.kind if a.kind is b.kind else max(a.kind, b.kind, key=_KIND_RANK.__getitem__),
        min(a.created_ns, b.created_ns),
        ctx.merge(a.context, b.context),
        _join_versions(a, b),
        _join_maps(a.links, b.links, join_link),
        _join_removal(a.removed, b.removed),
        _join_optional(a.mode, b.mode),
        _join_optional(a.owner, b.owner),
        _join_maps(a.xattrs, b.xattrs, _join_xattr),
        _join_optional(a.times, b.times),
    )
    return a if joined.versions is a.versions and joined == a else joined


def join_settings(a: NodeState, b: NodeState) -> NodeState:
    """`a` with the mode, owner, attributes and times that were set last on either: two directories shown as one."""
    return replace(
        a,
        mode=_join_optional(a.mode, b.mode),
        owner=_join_optional(a.owner, b.owner),
        xattrs=_join_maps(a.xattrs, b.xattrs, _join_xattr),
        times=_join_optional(a.times, b.times),
    )


def _join_versions(a: NodeState, b: NodeState) -> Mapping[Dot, Version]:
    if a.versions == b.versions:
        return _better_proven(a.versions, b.versions)
    kept: dict[Dot, Version] = {}
    for dot, version in a.versions.items():
        other = b.versions.get(dot)
        if other is not None:
            kept[dot] = join_version(version, other)
        elif not ctx.covers(b.context, dot):
            kept[dot] = version
    for dot, version in b.versions.items():
        if dot not in kept and not ctx.covers(a.context, dot):
            kept[dot] = version
    is_all_of_a = len(kept) == len(a.versions) and all(kept.get(dot) is version for dot, version in a.versions.items())
    return a.versions if is_all_of_a else kept


def _better_proven(a: Mapping[Dot, Version], b: Mapping[Dot, Version]) -> Mapping[Dot, Version]:
    """Picks among equal versions those with seals; `a` itself if `b` has none that it lacks."""
    better = {dot: b[dot] for dot, version in a.items() if _proof(b[dot]) > _proof(version)} if a is not b else {}
    return {**a, **better} if better else a


def join_version(a: Version, b: Version) -> Version:
    """Two records of one dot: the same but for the mtime, which is a register, and for content not hashed yet. Where
    they are not, somebody lies: a seal decides (records are vetted before, see `core.sealing`)."""
    if a is b:
        return a
    if a == b:
        return a if _proof(a) >= _proof(b) else b
    mtime = _join_register(a.mtime, b.mtime)
    base = a if _version_rank(a) >= _version_rank(b) else b
    return base if base.mtime is mtime else replace(base, mtime=mtime)


def _proof(version: Version) -> tuple[int, bytes, bytes]:
    """Rank of a version's proof. The author's own word counts more than that of others, and what can be shown to others
    more than what cannot."""
    return (len(version.seal), version.seal, version.origin)


def _version_rank(version: Version) -> tuple[int, bool, Hlc, int, tuple[int, bytes], str, bytes, bytes]:
    body = version.body
    return (
        len(version.seal),
        not isinstance(body, Pending),
        version.stamp,
        version.size,
        body_rank(body),
        version.device_name,
        version.seal,
        version.origin,
    )


def body_rank(body: Body) -> tuple[int, bytes]:
    """A total order over contents."""
    if isinstance(body, Inline):
        return (1, body.data)
    if isinstance(body, Blob):
        return (2, body.hash)
    if isinstance(body, Chunks):
        return (3, b"".join(chunk.hash + chunk.size.to_bytes(8, "big") for chunk in body.chunks))
    if isinstance(body, Manifest):
        return (4, body.hash)
    if isinstance(body, Target):
        return (5, body.path)
    if isinstance(body, Marker):
        return (6, b"")
    return (0, body.staging.encode())


def _join_maps(a: Mapping[K, V], b: Mapping[K, V], join_value: Callable[[V, V], V]) -> Mapping[K, V]:
    if a is b or not b or a == b:
        return a
    if not a:
        return b
    merged = dict(a)
    for key, value in b.items():
        mine = merged.get(key)
        merged[key] = value if mine is None else join_value(mine, value)
    return merged


def join_link(a: Link, b: Link) -> Link:
    if a.stamp != b.stamp:
        return a if a.stamp > b.stamp else b
    return a if _link_rank(a) >= _link_rank(b) else b


def _link_rank(link: Link) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
    return (_place_rank(link.place), _place_rank(link.before))


def _place_rank(place: Place | None) -> tuple[bytes, ...]:
    return () if place is None else (place.parent, place.name)


def _join_removal(a: Removal, b: Removal) -> Removal:
    if a is b or a == b:
        return a
    links: Mapping[LinkId, Hlc] = _join_maps(a.links, b.links, max)
    at: Mapping[AuthorId, Hlc] = _join_maps(a.at, b.at, max)
    return Removal(ctx.merge(a.context, b.context), links, at)


def _join_register(a: Register[T], b: Register[T]) -> Register[T]:
    if a.stamp != b.stamp:
        return a if a.stamp > b.stamp else b
    return a if _value_rank(a.value) >= _value_rank(b.value) else b


def _value_rank(value: object) -> Any:  # comparable with the rank of another value of the same register
    return (value is not None, b"" if value is None else value)


def _join_optional(a: Register[T] | None, b: Register[T] | None) -> Register[T] | None:
    if a is None or b is None:
        return a if b is None else b
    return _join_register(a, b)


def _join_xattr(a: Register[bytes | None], b: Register[bytes | None]) -> Register[bytes | None]:
    return _join_register(a, b)
