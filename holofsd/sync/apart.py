# SPDX-License-Identifier: GPL-3.0-or-later
"""Notes about authors of whom another history counts than the one that is here, until that one is here."""

from __future__ import annotations

from holofsd.core.document import AuthorSeq
from holofsd.core.ids import AuthorId
from holofsd.store.volume import VolumeStore


def is_apart(store: VolumeStore, last: AuthorSeq) -> bool:
    """Returns whether what is here of an author was found not to go on from `last`, the head of it that counts."""
    return store.meta(_name(last.author)) == last.set_hash


def note_apart(store: VolumeStore, last: AuthorSeq) -> None:
    with store.db.transaction():
        store.set_meta(_name(last.author), last.set_hash)


def forget_apart(store: VolumeStore, author: AuthorId) -> None:
    with store.db.transaction():
        store.delete_meta(_name(author))


def _name(author: AuthorId) -> str:
    return f"apart-{author.hex()}"
