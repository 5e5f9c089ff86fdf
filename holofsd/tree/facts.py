# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts in a node's state about its row in the index, but for its names. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from holofsd.core.edit import siblings
from holofsd.core.ids import AuthorId, BlobHash
from holofsd.core.node import fits, live_versions
from holofsd.core.state import Blob, Body, Chunks, Kind, Manifest, NodeState, Pending, Version

_DEFAULT_MODE: Final = {Kind.FILE: 0o644, Kind.DIRECTORY: 0o755, Kind.SYMLINK: 0o777}


def blobs_of(body: Body, size: int) -> tuple[tuple[BlobHash, int], ...]:
    """(hash, size) of everything that has to be here before the body can be read."""
    if isinstance(body, Blob | Manifest):
        return ((body.hash, size),)
    if isinstance(body, Chunks):
        return tuple((chunk.hash, chunk.size) for chunk in body.chunks)
    return ()


def id_of(body: Body) -> BlobHash | None:
    """Hash by which the whole content of a body is known; None where the bytes are in the record, or there is no
    such hash."""
    return body.hash if isinstance(body, Blob | Manifest) else None


SizeOf = Callable[[BlobHash], int | None]
"""Size of content that is here, in bytes; None for what is not."""


def true_size(version: Version, size_of: SizeOf) -> int:
    """Size of a version: of its bytes where they are here, which hash right; until then what its writer says."""
    body = version.body
    if isinstance(body, Blob | Manifest):
        size = size_of(body.hash)
        return version.size if size is None else size
    if isinstance(body, Chunks):
        sizes = ((size_of(chunk.hash), chunk.size) for chunk in body.chunks)
        return sum(said if size is None else size for size, said in sizes)
    return version.size


def false_claims(version: Version, size_of: SizeOf) -> Iterator[tuple[BlobHash, int, int]]:
    """(hash, size that the version says, size that it has) of content that is here and has another size."""
    if isinstance(version.body, Blob | Manifest | Chunks):
        for blob, said in blobs_of(version.body, version.size):
            size = size_of(blob)
            if size is not None and size != said:
                yield blob, said, size


def mode_of(state: NodeState) -> int:
    """Permission bits."""
    return state.mode.value if state.mode is not None else _DEFAULT_MODE[state.kind]


def xattrs_of(state: NodeState) -> int:
    """Counts the extended attributes of a node."""
    return sum(1 for register in state.xattrs.values() if register.value is not None) if state.xattrs else 0


@dataclass(frozen=True, slots=True)
class Facts:
    """Columns of a row of `nodes` that follow from its state and the content that is here.

    `shows_earlier`: the version shown is an earlier one, because the content of the newest is not here yet.
    """

    shown: Version | None
    shows_earlier: bool
    remote: bool
    versions: int
    mode: int
    xattrs: int
    size: int
    """Of what is shown: see `true_size`."""
    wanted: dict[tuple[BlobHash, AuthorId], int]
    """Content that is not here, by the author whose version needs it: the size that it says."""
    lists: frozenset[BlobHash]
    """Those of them that have a list of chunks."""
    pending: tuple[str, ...]
    """Staging files that hold content of this node."""


def facts_of(state: NodeState, size_of: SizeOf, previous: Callable[[], Version | None]) -> Facts:
    """`previous` gives the version that was shown until now; it is asked only if content is missing."""
    live = live_versions(state)
    wanted: dict[tuple[BlobHash, AuthorId], int] = {}
    for version in live:
        for blob, size in blobs_of(version.body, version.size):
            if size_of(blob) is None:
                wanted[blob, version.dot.author] = size

    def missing(version: Version) -> bool:
        return any(size_of(blob) is None for blob, _ in blobs_of(version.body, version.size))

    shown = live[0] if live else None
    shows_earlier = False
    if shown is not None and wanted and missing(shown):
        before = previous()
        # A node that was of another kind until now has shown what no file contains.
        if before is not None and fits(state.kind, before.body) and before.body != shown.body and not missing(before):
            shown, shows_earlier = before, True
    return Facts(
        shown,
        shows_earlier,
        bool(wanted) and shown is not None and not shows_earlier and missing(shown),
        1 + len(siblings(state)) if len(live) > 1 and state.kind is not Kind.DIRECTORY else len(live),
        mode_of(state),
        xattrs_of(state),
        true_size(shown, size_of) if shown is not None else 0,
        wanted,
        frozenset(v.body.hash for v in live if isinstance(v.body, Manifest)) if wanted else frozenset(),
        tuple(v.body.staging for v in state.versions.values() if isinstance(v.body, Pending)),
    )
