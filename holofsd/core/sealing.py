# SPDX-License-Identifier: GPL-3.0-or-later
"""Versions belong to their authors: what a seal signs, and what of a record about others can count.

A seal is the author's signature over one version of a file or symlink. It goes with the version wherever others pass it
on, so that none of them can give it other content, another stamp or another node. Versions in a record of their own
author need none: the record is signed. Directories have no content, and their versions no seal.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Final

from blake3 import blake3

from holofsd.core.context import covering
from holofsd.core.edit import split_id
from holofsd.core.ids import AuthorId, Dot, NodeId, VolumeId
from holofsd.core.message import length_prefixed, number
from holofsd.core.state import (
    VOUCHED,
    Blob,
    Body,
    Chunks,
    Context,
    Inline,
    Kind,
    Manifest,
    NodeState,
    Pending,
    Target,
    Version,
)

DOMAIN: Final = b"holofs-version-1"
MOST_SPLITS: Final = 8
"""A version that became a node of its own again and again was sealed in the first of them."""


def seal_message(volume: VolumeId, node: NodeId, kind: Kind, version: Version) -> bytes:
    """The bytes that a version's author signs; `node` is the one that the version is in now. The mtime is not among
    them: it is a register, and others may set it."""
    stamp = version.stamp
    return length_prefixed(
        DOMAIN,
        volume,
        version.origin or node,
        bytes((kind,)),
        version.dot.author,
        number(version.dot.counter),
        number(stamp.wall_ms),
        number(stamp.counter),
        stamp.author,
        _content(version.body),
        number(version.size),
        version.device_name.encode(),
    )


def _content(body: Body) -> bytes:
    if isinstance(body, Inline):
        return b"\x01" + blake3(body.data).digest()
    if isinstance(body, Blob):
        return b"\x02" + body.hash
    if isinstance(body, Chunks):
        listed = b"".join(chunk.hash + number(chunk.size) for chunk in body.chunks)
        return b"\x03" + blake3(listed).digest()
    if isinstance(body, Manifest):
        return b"\x04" + body.hash
    if isinstance(body, Target):
        return b"\x05" + body.path
    raise ValueError("a version without content that can be had has no seal")


def needs_seal(version: Version) -> bool:
    """Whether others have to prove what they say of it."""
    return isinstance(version.body, Inline | Blob | Chunks | Manifest | Target)


def is_from(node: NodeId, version: Version) -> bool:
    """Whether the version can be in this node: it was made in it, or in one from which it was split off."""
    at = version.origin
    if not at or at == node:
        return True
    for _ in range(MOST_SPLITS):
        at = split_id(NodeId(at), version.dot)
        if at == node:
            return True
    return False


def same_content(a: Version, b: Version) -> bool:
    """Whether two claims about one dot agree in all that its author alone may say."""
    return a.body == b.body and a.size == b.size and a.stamp == b.stamp and a.device_name == b.device_name


def foreign(state: NodeState, writer: AuthorId) -> list[Version]:
    """The versions of others in a record, of which its writer says what it heard."""
    if state.kind is Kind.DIRECTORY:
        return []
    return [version for dot, version in state.versions.items() if dot.author != writer]


def vouched(state: NodeState, writer: AuthorId) -> NodeState:
    """The writer's own versions without a seal, marked as said by their author."""
    unmarked = [v for d, v in state.versions.items() if d.author == writer and not v.seal]
    if not unmarked or state.kind is Kind.DIRECTORY:
        return state
    marked = {version.dot: replace(version, seal=VOUCHED) for version in unmarked}
    return replace(state, versions={**state.versions, **marked})


def without(state: NodeState, writer: AuthorId, dots: Collection[Dot]) -> NodeState:
    """The record without these versions, and without having seen anything of their authors: what is not believed
    replaces nothing, and neither does it keep anything else from being shown. Where the record has no other version, it
    replaces nothing at all."""
    authors = {dot.author for dot in dots}
    kept = {dot: version for dot, version in state.versions.items() if dot.author not in authors}
    return replace(
        state,
        context=covering(state.context, writer, kept),
        versions=kept,
        removed=replace(state.removed, context=_of_others(state.removed.context, authors)),
    )


def _of_others(context: Context, authors: Collection[AuthorId]) -> Context:
    return {author: counter for author, counter in context.items() if author not in authors}


def is_pending(version: Version) -> bool:
    return isinstance(version.body, Pending)
