# SPDX-License-Identifier: GPL-3.0-or-later
"""Payloads of the two records by which records go: those an author dropped, and authors that were folded (ADR 8)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from holofs_peer.v1 import peer_pb2 as pb
from holofsd.codec import wire
from holofsd.codec.checks import at_most, number, parse
from holofsd.codec.records import FORMAT, MAX_AUTHORS, MAX_PAYLOAD, refuse_format
from holofsd.core.document import Dropped, Head
from holofsd.core.errors import Refused

MAX_DROPPED: Final = 16_384
_KEY_LENGTH: Final = 16


def encode_dropped(dropped: Iterable[Dropped]) -> bytes:
    record = pb.DroppedRecord(format=FORMAT)
    for item in sorted(dropped, key=lambda item: item.key):
        record.dropped.add(key=item.key, seq=item.seq)
    return record.SerializeToString(deterministic=True)


def decode_dropped(payload: bytes) -> tuple[Dropped, ...]:
    record = pb.DroppedRecord()
    parse(record, payload, MAX_PAYLOAD, "list of dropped records")
    if record.format != FORMAT:
        refuse_format(record.format)
    at_most(record.dropped, MAX_DROPPED, "dropped records")
    found: dict[bytes, Dropped] = {}
    for item in record.dropped:
        if len(item.key) != _KEY_LENGTH:
            raise Refused("only records of nodes are dropped")
        found[item.key] = Dropped(item.key, number(item.seq, "number of a dropped record", 1))
    if len(found) != len(record.dropped):
        raise Refused("a dropped record is named twice")
    return tuple(found.values())


def encode_folded(heads: Iterable[Head]) -> bytes:
    record = pb.FoldedRecord(format=FORMAT, heads=[wire.to_head(h) for h in sorted(heads, key=lambda h: h.author)])
    return record.SerializeToString(deterministic=True)


def decode_folded(payload: bytes) -> tuple[Head, ...]:
    """Signatures are not checked here."""
    record = pb.FoldedRecord()
    parse(record, payload, MAX_PAYLOAD, "list of folded authors")
    if record.format != FORMAT:
        refuse_format(record.format)
    at_most(record.heads, MAX_AUTHORS, "folded authors")
    heads = {head.author: wire.from_head(head) for head in record.heads}
    if len(heads) != len(record.heads):
        raise Refused("a folded author is named twice")
    return tuple(heads.values())
