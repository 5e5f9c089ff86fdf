# SPDX-License-Identifier: GPL-3.0-or-later
"""Seals of versions, as a record is published: ours are made, those of others passed on, and what has none is not.

Seals of ours are made anew for each record: the same key gives the same bytes, so they are not stored.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from holofsd.codec.records import SEAL, encode_state, fits, with_seals
from holofsd.codec.signing import SigningKey, sign_version
from holofsd.core.ids import AuthorId, Dot
from holofsd.core.sealing import needs_seal, same_content
from holofsd.core.state import Kind, NodeState, Version
from holofsd.core.unsaid import smaller_records
from holofsd.sync.told import Told
from holofsd.tree.local import LocalVolume

_MOST_KEYS: Final = 4096


class Sealer:
    """All methods belong inside a transaction."""

    def __init__(self, volume: LocalVolume, told: Told) -> None:
        self._volume = volume
        self._store = volume.store
        self._told = told
        self._keys: dict[AuthorId, SigningKey | None] = {}

    def provable(self, state: NodeState) -> NodeState:
        """The state as it can be published, and is stored now: of each version others can be shown who wrote it.

        A version of somebody else without a good seal, which should have one, gets it from the records; where none has
        it, it is said as ours. So is one that its author's head does not vouch for, since another history of that
        author took over: of a dot beyond the head nothing counts.
        """
        beyond = [dot for dot in state.versions if self._is_beyond(dot)]
        if beyond:
            self._volume.say_as_ours(state.id, beyond)
            state = self._volume.tree.state(state.id) or state
        lacking = self._lacking(state)
        if not lacking:
            return state
        found = self._from_records(state, lacking)
        if found:
            self._volume.merge([replace(state, versions={**state.versions, **found})])
            state = self._volume.tree.state(state.id) or state
        left = [v.dot for v in lacking if v.dot in state.versions and not self._is_good(state, state.versions[v.dot])]
        if left:
            self._volume.say_as_ours(state.id, left)
        return self._volume.tree.state(state.id) or state

    def _lacking(self, state: NodeState) -> list[Version]:
        """Versions of others that cannot be shown to be theirs."""
        if state.kind is Kind.DIRECTORY:
            return []
        foreign = [v for v in state.versions.values() if needs_seal(v) and self._key(v.dot.author) is None]
        return [version for version in foreign if not self._is_good(state, version)]

    def _is_beyond(self, dot: Dot) -> bool:
        return dot.counter > self._store.documents.dots_of(dot.author) and self._key(dot.author) is None

    def sealed(self, state: NodeState, encoded: bytes) -> bytes:
        """The payload: the encoded state with seals of our versions."""
        if state.kind is Kind.DIRECTORY:
            return encoded
        volume, seals = self._store.volume, {}
        for dot, version in state.versions.items():
            key = self._key(dot.author) if len(version.seal) != SEAL and needs_seal(version) else None
            if key is not None:
                seals[dot] = sign_version(key, volume, state.id, state.kind, version)
        return with_seals(encoded, state, seals) if seals else encoded

    def cut_down(self, state: NodeState, most: int) -> bytes | None:
        """A payload that has room in a record of so many bytes, as it leaves out what others say. None if none has."""
        others = self._told.state(state.id, without=self._volume.author)
        for smaller in smaller_records(state, others, self._store.own_authors()):
            if self._lacking(smaller) or any(map(self._is_beyond, smaller.versions)):
                continue
            payload = self.sealed(smaller, encode_state(smaller))
            if len(payload) <= most and fits(smaller):
                return payload
        return None

    def _is_good(self, state: NodeState, version: Version) -> bool:
        vetting = self._told.vetting
        if len(version.seal) == SEAL:
            return vetting.is_sealed(state, version)
        if self._store.seals.is_unproven(state.id) or vetting.should_be_sealed(version.dot):
            return False
        return not vetting.is_denied(state.id, version)

    def _from_records(self, state: NodeState, lacking: list[Version]) -> dict[Dot, Version]:
        """Finds the seals of these versions that a record has, and returns those versions with them."""
        found: dict[Dot, Version] = {}
        claims = [claim for _, claim in self._told.claims(state.id)]
        for version in lacking:
            said = [claim.versions[version.dot] for claim in claims if version.dot in claim.versions]
            for one in said:
                if same_content(one, version) and self._told.vetting.is_sealed(state, one):
                    found[version.dot] = replace(version, seal=one.seal, origin=one.origin)
        return found

    def _key(self, author: AuthorId) -> SigningKey | None:
        """The key of one of our authors. An author that is not ours never becomes it: new ones have new keys."""
        if author not in self._keys:
            seed = self._store.seed_of(author)
            if len(self._keys) >= _MOST_KEYS:
                self._keys.clear()
            self._keys[author] = SigningKey(seed) if seed is not None else None
        return self._keys[author]
