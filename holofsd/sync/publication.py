# SPDX-License-Identifier: GPL-3.0-or-later
"""One publication: records get their numbers and signatures, the author's head moves, in the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from holofsd.codec.content import hash_bytes
from holofsd.codec.records import FORMAT
from holofsd.codec.signing import SigningKey, sign_envelope, sign_head
from holofsd.core import sethash
from holofsd.core.document import AuthorSeq, Dropped, Envelope, Head
from holofsd.core.ids import AuthorId
from holofsd.core.record_budget import NOTHING, Weight, weight
from holofsd.store.volume import VolumeStore
from holofsd.sync.config import KEY_DEVICE, KEY_DROPPED, KEY_FOLDED, KEY_VOLUME, NODE_KEY_LENGTH

KNOWN_KEYS: Final = (KEY_DEVICE, KEY_DROPPED, KEY_FOLDED, KEY_VOLUME)
BEGINS: Final = bytes((8, FORMAT))
"""Of every payload that this program understands: `format`, the first field."""


@dataclass(frozen=True, slots=True)
class Publication:
    """Records to send to other devices: the records, the head they lead to, and the seq of the head before."""

    envelopes: tuple[Envelope, ...]
    head: Head
    after: int


def element_of(envelope: Envelope) -> int:
    return sethash.element(envelope.key, envelope.seq, hash_bytes(envelope.payload))


def is_strange(envelope: Envelope) -> bool:
    """Whether this program cannot understand the record, by a first look: of a newer format, or of none."""
    if len(envelope.key) != NODE_KEY_LENGTH and envelope.key not in KNOWN_KEYS:
        return True
    return not envelope.payload.startswith(BEGINS)


def weigh(envelope: Envelope) -> Weight:
    return weight(envelope.key, envelope.payload, is_strange(envelope))


def publish(
    store: VolumeStore,
    key: SigningKey,
    dots: int,
    records: Sequence[tuple[bytes, bytes]],
    dropped: Sequence[Dropped] = (),
) -> Publication:
    """Numbers (record key, payload) pairs as the active author, whose key this is. Keys are distinct; one at least.

    `dots`: the counter of the last dot given (`LocalVolume.dots_given`), which in the store may be that of before this
    transaction. What names a dot beyond it waits, on every device. `dropped`: records of ours that go; one of `records`
    says so.
    """
    documents = store.documents
    author = AuthorId(key.public)
    before = documents.head(author)
    seq = after = before.seq if before else 0
    total = sethash.from_bytes(before.set_hash) if before else sethash.EMPTY
    taken = documents.weights().get(author, NOTHING)
    for gone in dropped:
        old = documents.envelope(author, gone.key)
        if old is not None:
            total, taken = sethash.subtract(total, element_of(old)), taken - weigh(old)
            documents.drop(author, gone.key, old.seq)
    envelopes = []
    for record_key, payload in records:
        seq += 1
        envelope = sign_envelope(key, store.volume, seq, record_key, payload)
        old = documents.envelope(author, record_key)
        if old is not None:
            total, taken = sethash.subtract(total, element_of(old)), taken - weigh(old)
        total, taken = sethash.add(total, element_of(envelope)), taken + weigh(envelope)
        documents.put(envelope)
        envelopes.append(envelope)
    head = sign_head(key, store.volume, seq, dots, sethash.to_bytes(total))
    documents.set_head(head, taken)
    return Publication(tuple(envelopes), head, after)


def summary(head: Head) -> AuthorSeq:
    return AuthorSeq(head.author, head.seq, head.set_hash)
