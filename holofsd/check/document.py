# SPDX-License-Identifier: GPL-3.0-or-later
"""The document replica: every record is what its author signed, and heads vouch for exactly what is here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from holofsd.check.case import Case
from holofsd.codec import wire
from holofsd.codec.content import hash_bytes
from holofsd.codec.signing import SigningKey, verify_envelopes, verify_head
from holofsd.core import sethash
from holofsd.core.document import Envelope, Head
from holofsd.core.errors import Refused
from holofsd.core.ids import AuthorId, VolumeId
from holofsd.sync.config import NODE_KEY_LENGTH
from holofsd.sync.signers import all_good

NEW_AUTHOR: Final = "new_author"
"""Meta value: this index lost something that others may have of us, so the next start begins with a new author."""
_PAGE: Final = 500


def check_document(case: Case) -> None:
    own = set(case.store.own_authors())
    heads = case.store.documents.heads()
    authors = {row[0] for row in case.store.db.all("SELECT DISTINCT author FROM envelopes")}
    for author in sorted(authors | heads.keys()):
        _check_author(case, author, heads.get(author), author in own)
    _check_leftovers(case)


def _check_author(case: Case, author: AuthorId, head: Head | None, own: bool) -> None:
    documents, name = case.store.documents, author.hex()[:16]
    case.report.count("authors")
    case.report.count("records", case.store.db.number("SELECT count(*) FROM envelopes WHERE author=?", (author,)))
    if head is None:
        bad = _false_records(case, author)
        if not bad:
            sentence = "The records of an author wait for another device to send its summary; they are kept."
            case.report.add("no-head", name, sentence, fixable=False)
    else:
        total = sethash.to_bytes(documents.set_sum(author, hash_bytes))
        if total == head.set_hash and verify_head(case.store.volume, head):
            return
        bad = _false_records(case, author)
        if own:
            sentence = "This device's own records are damaged; they are said again, under a new author."
            case.sql("INSERT OR REPLACE INTO meta VALUES (?, x'01')", NEW_AUTHOR)
        else:
            sentence = "The records of an author are not those it signed for; they are asked for again, all of them."
        case.report.add("records-disagree", name, sentence, fixable=True)
        case.sql("DELETE FROM heads WHERE author=?", author)
    for key in bad:
        case.bad_records.add((author, key))
        case.report.add("false-record", f"{name} {key.hex()}", "A record is not what its author signed.", fixable=True)
        case.sql("DELETE FROM envelopes WHERE author=? AND key=?", author, key)
        if case.can_write and len(key) == NODE_KEY_LENGTH:
            case.sql("INSERT OR IGNORE INTO outbox SELECT node, 0, 0 FROM nodes WHERE node=?", key)


def _false_records(case: Case, author: AuthorId) -> list[bytes]:
    found: list[bytes] = []
    for page in _pages(case, author):
        good = verify_envelopes(case.store.volume, page)
        found += [envelope.key for envelope, fine in zip(page, good, strict=True) if not fine]
    return found


def _pages(case: Case, author: AuthorId) -> Iterator[list[Envelope]]:
    after = b""
    while True:
        rows = case.store.db.all(
            "SELECT author, seq, key, payload, signature FROM envelopes WHERE author=? AND key>? ORDER BY key LIMIT ?",
            (author, after, _PAGE),
        )
        if not rows:
            return
        yield [Envelope(*row) for row in rows]
        after = rows[-1][2]


def _check_leftovers(case: Case) -> None:
    """Rows about records that are not there."""
    for table in ("merge_queue", "waiting", "quarantine"):
        missing = f"FROM {table} WHERE NOT EXISTS"
        missing += f" (SELECT 1 FROM envelopes AS e WHERE e.author={table}.author AND e.key={table}.key)"
        count = case.store.db.number(f"SELECT count(*) {missing}")
        for _ in range(count):
            case.report.add("work-without-record", table, "Work is noted for a record that is not here.", fixable=True)
        if count:
            case.sql(f"DELETE {missing}")


# ---- who we are, who may what
def check_credentials(case: Case) -> None:
    for kind, digest, message in case.store.db.all("SELECT kind, digest, message FROM credentials"):
        case.report.count("credentials")
        if not _is_good(case.store.volume, message):
            sentence = "A grant, removal or certificate is damaged; other devices send it again."
            case.report.add("false-credential", f"{kind} {digest.hex()[:16]}", sentence, fixable=True)
            case.sql("DELETE FROM credentials WHERE kind=? AND digest=?", kind, digest)


def _is_good(volume: VolumeId, message: bytes) -> bool:
    try:
        held = wire.decode_credentials(message)
    except Refused:
        return False
    return all_good(volume, held)


def check_authors(case: Case) -> None:
    """Our own keys and counters: a counter that went back would give a number twice."""
    rows = case.store.db.all("SELECT author, seed, counter, active FROM authors")
    case.report.count("own authors", len(rows))
    if sum(1 for row in rows if row[3]) != 1:
        sentence = "This device has no author of its own in the volume; the next start makes a new one."
        case.report.add("no-author", "authors", sentence, fixable=True)
        case.sql("UPDATE authors SET active=0")
        case.sql("INSERT OR REPLACE INTO meta VALUES (?, x'01')", NEW_AUTHOR)
    for author, seed, counter, active in rows:
        if len(seed) != 32 or SigningKey(seed).public != author:
            sentence = "The key of an author of ours is damaged; a new author takes over."
            case.report.add("false-author", author.hex()[:16], sentence, fixable=True)
            case.sql("DELETE FROM authors WHERE author=?", author)
            case.sql("INSERT OR REPLACE INTO meta VALUES (?, x'01')", NEW_AUTHOR)
        head = case.store.documents.head(author)
        if active and head is not None and head.dots > counter:
            sentence = "The counter of our author is behind what was published; it is put forward."
            case.report.add("counter-behind", author.hex()[:16], sentence, fixable=True)
            case.sql("UPDATE authors SET counter=? WHERE author=?", head.dots, author)
