# SPDX-License-Identifier: GPL-3.0-or-later
"""Vetting of records: a version belongs to its author, and what others say of it has to be proven.

A record is signed, so its writer's own versions count. A version of somebody else counts if its author's seal says the
same, or if this is what is known of it already: from the author's own record, or from an earlier one. What does not
count is left out, together with what the record covers of that author from there on, and looked at again when more is
known of the node. Versions from before their author made seals count if nothing contradicts them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from blake3 import blake3

from holofsd.codec.records import SEAL, decode_device, decode_state
from holofsd.codec.signing import verify_seal
from holofsd.core.document import Envelope
from holofsd.core.errors import Refused
from holofsd.core.ids import AuthorId, Dot, NodeId
from holofsd.core.sealing import foreign, is_pending, needs_seal, same_content, seal_message, vouched, without
from holofsd.core.state import VOUCHED, NodeState, Version
from holofsd.store.volume import VolumeStore
from holofsd.sync.config import KEY_DEVICE

FORGED: Final = "gave other content to a version of another device"
DISPUTED: Final = "said something else of a version than its author, or was told so by it: nobody can prove which"
"""Said of nobody in particular."""
UNSEALED: Final = "passed on versions of other devices without their seals"
TWO_CONTENTS: Final = "published two contents as one version"
OTHER_KIND: Final = "made something else of a file, folder or symlink"

_REMEMBERED: Final = 8192
"""Seals that were verified, by a digest of all that they vouch for."""


class _Verdict(Enum):
    COUNTS = 0
    VOUCHED_FOR = 1
    """The version's author says the same in a record of its own."""
    FORGED = 2
    UNSEALED = 3
    WORD_AGAINST_WORD = 4
    """Contradicts what is known here, and nobody can prove either."""
    DISPUTED = 5
    """The author, which made no seal, says something else in its record: the writer lies, or the author did before."""
    DISPUTED_LATE = 6
    """The author itself said something else here once, but its record of that is gone."""


_LIES: Final = {
    _Verdict.FORGED: FORGED,
    _Verdict.UNSEALED: UNSEALED,
    _Verdict.DISPUTED: DISPUTED,
    _Verdict.DISPUTED_LATE: DISPUTED,
}
_CONTESTED: Final = (_Verdict.WORD_AGAINST_WORD, _Verdict.DISPUTED_LATE)


@dataclass(frozen=True, slots=True)
class Vetted:
    """`state`: what of a record counts."""

    state: NodeState
    refused: tuple[Dot, ...] = ()
    """Versions in the record that do not."""
    lies: tuple[str, ...] = ()
    """What its writer did with them, as far as that is sure."""
    contested: tuple[Dot, ...] = ()
    """Versions of which others cannot be shown that what is known here is right."""
    doubled: tuple[Dot, ...] = ()
    """Versions that count, and of which the same author said something else before."""


class Vetting:
    """Reads the document; writes nothing."""

    def __init__(self, store: VolumeStore) -> None:
        self._store = store
        self._good: OrderedDict[bytes, None] = OrderedDict()

    def vet(
        self, state: NodeState, writer: AuthorId, known: Callable[[], NodeState | None], again: bool = False
    ) -> Vetted:
        """`known`: what is stored of that node, asked for only where the record speaks of versions of others, or takes
        the place of an earlier one (`again`)."""
        state = vouched(state, writer)
        others = foreign(state, writer)
        if not others and not again:
            return Vetted(state)
        stored = known()
        here = stored.versions if stored is not None and stored.kind is state.kind else {}
        verdicts = {version.dot: self._judge(state, version, here.get(version.dot)) for version in others}
        marked = {
            dot: replace(state.versions[dot], seal=VOUCHED)
            for dot, verdict in verdicts.items()
            if verdict is _Verdict.VOUCHED_FOR
        }
        if marked:
            state = replace(state, versions={**state.versions, **marked})
        refused = tuple(dot for dot, v in verdicts.items() if v not in (_Verdict.COUNTS, _Verdict.VOUCHED_FOR))
        out = frozenset(refused)
        doubled = tuple(dot for dot in _doubled(state, here) if dot not in out)
        # A device that heard the author say only one of two things, without seals, cannot be shown the other one.
        unproven = [dot for dot in doubled if max(len(here[dot].seal), len(state.versions[dot].seal)) < SEAL]
        return Vetted(
            without(state, writer, refused) if refused else state,
            refused,
            tuple(_LIES[verdicts[dot]] for dot in refused if verdicts[dot] in _LIES),
            (*(dot for dot in refused if verdicts[dot] in _CONTESTED), *unproven),
            doubled,
        )

    def _judge(self, state: NodeState, version: Version, mine: Version | None) -> _Verdict:
        agrees = mine is not None and same_content(mine, version)
        if version.seal:
            is_known = agrees and mine is not None and (mine.seal, mine.origin) == (version.seal, version.origin)
            return _Verdict.COUNTS if is_known or self.is_sealed(state, version) else _Verdict.FORGED
        if agrees:
            return _Verdict.COUNTS
        own = self._own_word(state.id, version.dot)
        if own is not None and same_content(own, version):
            return _Verdict.VOUCHED_FOR
        if self.should_be_sealed(version.dot):
            return _Verdict.UNSEALED if own is None and mine is None else _Verdict.FORGED
        if own is not None:
            return _Verdict.DISPUTED
        if mine is None or is_pending(mine):
            return _Verdict.COUNTS
        if len(mine.seal) == SEAL:
            return _Verdict.FORGED
        return _Verdict.DISPUTED_LATE if mine.seal else _Verdict.WORD_AGAINST_WORD

    def is_sealed(self, state: NodeState, version: Version) -> bool:
        """Whether the version has its author's seal. Verified once."""
        if len(version.seal) != SEAL or not needs_seal(version):
            return False
        message = seal_message(self._store.volume, state.id, state.kind, version)
        key = blake3(state.id + version.seal + message).digest()
        if key in self._good:
            self._good.move_to_end(key)
            return True
        if not verify_seal(self._store.volume, state.id, state.kind, version):
            return False
        self._good[key] = None
        if len(self._good) > _REMEMBERED:
            self._good.popitem(last=False)
        return True

    def is_denied(self, node: NodeId, version: Version) -> bool:
        """Whether the version's author says something else of it now."""
        own = self._own_word(node, version.dot)
        return own is not None and not same_content(own, version)

    def should_be_sealed(self, dot: Dot) -> bool:
        """Whether its author gives seals to all versions since this one."""
        return 0 < self._sealed_from(dot.author) <= dot.counter

    def knows_no_seals(self, author: AuthorId) -> bool:
        """Whether that author is one of a program that says what it is, and makes no seals."""
        return self._record(author, KEY_DEVICE) is not None and not self._sealed_from(author)

    def _sealed_from(self, author: AuthorId) -> int:
        active = self._store.active_author()
        if active is not None and active[0] == author:
            return self._store.seals.sealed_from(author)  # of our former ones we go by what the others go by
        envelope = self._record(author, KEY_DEVICE)
        if envelope is None:  # folded, or discarded until the part that counts is here again
            return 0 if self._store.documents.folded_to(author) else self._store.seals.last_heard(author)
        try:
            return decode_device(envelope.payload).sealed_from
        except Refused:
            return 0

    def _own_word(self, node: NodeId, dot: Dot) -> Version | None:
        """Returns a version as its author says it in its own record of the node."""
        envelope = self._record(dot.author, node)
        try:
            return decode_state(envelope.payload).versions.get(dot) if envelope is not None else None
        except Refused:
            return None

    def _record(self, author: AuthorId, key: bytes) -> Envelope | None:
        """None where the author was let go of, though rows of it may still be here: they go bit by bit."""
        documents = self._store.documents
        return None if documents.is_going(author) else documents.envelope(author, key)


def _doubled(state: NodeState, here: Mapping[Dot, Version]) -> tuple[Dot, ...]:
    """Versions that their author, going by what is stored, published with something else in it."""
    return tuple(
        dot
        for dot, version in state.versions.items()
        if dot in here and here[dot].seal and version.seal and not same_content(here[dot], version)
    )
