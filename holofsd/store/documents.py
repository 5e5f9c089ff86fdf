# SPDX-License-Identifier: GPL-3.0-or-later
"""The document replica of a volume: envelopes, heads, incoming pages, and what is still to be merged."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from holofsd.core import sethash
from holofsd.core.document import Envelope, Head
from holofsd.core.ids import AuthorId
from holofsd.store.database import Database

_REPLACE: Final = (
    " ON CONFLICT (author, key) DO UPDATE SET seq=excluded.seq, payload=excluded.payload, signature=excluded.signature"
)


NO_HEAD: Final = Head(AuthorId(b""), 0, 0, b"", b"")


class Documents:
    """All methods but plain reads belong inside `db.transaction()`."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self._dots: dict[AuthorId, int] = {}
        db.on_rollback.append(self._dots.clear)

    # ---- heads and envelopes
    def head(self, author: AuthorId) -> Head | None:
        row = self.db.one("SELECT author, seq, dots, set_hash, signature FROM heads WHERE author=?", (author,))
        return Head(*row) if row else None

    def heads(self) -> dict[AuthorId, Head]:
        rows = self.db.all("SELECT author, seq, dots, set_hash, signature FROM heads")
        return {row[0]: Head(*row) for row in rows}

    def dot_limits(self) -> dict[AuthorId, int]:
        """Per author the highest dot counter that its head, as we hold it, vouches for."""
        limits: dict[AuthorId, int] = dict(self.db.all("SELECT author, dots FROM folded"))
        for author, dots in self.db.all("SELECT author, dots FROM heads"):
            limits[author] = max(dots, limits.get(author, 0))
        return limits

    def dots_of(self, author: AuthorId) -> int:
        """As `dot_limits`, of one author; 0 without a head. Remembered: every replaced version asks for it."""
        known = self._dots.get(author)
        if known is None:
            known = self.db.number("SELECT dots FROM heads WHERE author=?", (author,))
            known = self._dots[author] = known or self.folded().get(author, NO_HEAD).dots
        return known

    def folded(self) -> dict[AuthorId, Head]:
        """The last heads of authors whose records nobody needs any more."""
        return {row[0]: Head(*row) for row in self.db.all("SELECT author, seq, dots, set_hash, signature FROM folded")}

    def folded_to(self, author: AuthorId) -> int:
        """Up to which number nothing of that author is to be had."""
        return self.db.number("SELECT seq FROM folded WHERE author=?", (author,))

    def add_folded(self, head: Head) -> bool:
        """The later one stays; True if this one is new."""
        cursor = self.db.run(
            "INSERT INTO folded VALUES (?,?,?,?,?) ON CONFLICT (author) DO UPDATE SET seq=excluded.seq,"
            " dots=excluded.dots, set_hash=excluded.set_hash, signature=excluded.signature"
            " WHERE (excluded.seq, excluded.set_hash) > (seq, set_hash)",
            (head.author, head.seq, head.dots, head.set_hash, head.signature),
        )
        self._dots.pop(head.author, None)
        return cursor.rowcount > 0

    def let_go_of(self, author: AuthorId) -> None:
        """All its records and its head; those of others stay."""
        for table in ("envelopes", "incoming", "merge_queue", "waiting", "quarantine", "heads"):
            self.db.run(f"DELETE FROM {table} WHERE author=?", (author,))
        self._dots.pop(author, None)

    def is_any_unmerged(self, author: AuthorId) -> bool:
        """Whether any record of that author waits for something."""
        tables = ("merge_queue", "waiting", "quarantine", "incoming")
        return any(self.db.one(f"SELECT 1 FROM {t} WHERE author=? LIMIT 1", (author,)) for t in tables)

    def set_head(self, head: Head) -> None:
        self._dots[head.author] = head.dots
        self.db.run(
            "INSERT OR REPLACE INTO heads VALUES (?,?,?,?,?)",
            (head.author, head.seq, head.dots, head.set_hash, head.signature),
        )

    def envelope(self, author: AuthorId, key: bytes) -> Envelope | None:
        row = self.db.one(
            "SELECT author, seq, key, payload, signature FROM envelopes WHERE author=? AND key=?", (author, key)
        )
        return Envelope(*row) if row else None

    def about(self, key: bytes) -> list[Envelope]:
        """Every author's record under this key."""
        rows = self.db.all("SELECT author, seq, key, payload, signature FROM envelopes WHERE key=?", (key,))
        return [Envelope(*row) for row in rows]

    def is_known(self, key: bytes) -> bool:
        """Whether any author published anything under this key."""
        return self.db.one("SELECT 1 FROM envelopes WHERE key=? LIMIT 1", (key,)) is not None

    def put(self, envelope: Envelope) -> None:
        self.db.run(
            "INSERT INTO envelopes (author, key, seq, payload, signature) VALUES (?,?,?,?,?)" + _REPLACE,
            (envelope.author, envelope.key, envelope.seq, envelope.payload, envelope.signature),
        )

    def page(self, author: AuthorId, after: int, up_to: int, max_bytes: int) -> list[Envelope]:
        """Records with after < seq <= up_to in order of seq, at least one if there is one, about max_bytes in all."""
        cursor = self.db.run(
            "SELECT author, seq, key, payload, signature FROM envelopes"
            " WHERE author=? AND seq>? AND seq<=? ORDER BY seq",
            (author, after, up_to),
        )
        page: list[Envelope] = []
        size = 0
        for row in cursor:
            page.append(Envelope(*row))
            size += len(row[3]) + 200
            if size >= max_bytes:
                break
        cursor.close()
        return page

    def numbers_about(self, key: bytes) -> list[tuple[AuthorId, int]]:
        """(author, seq) of every author's record under this key."""
        return [(row[0], row[1]) for row in self.db.all("SELECT author, seq FROM envelopes WHERE key=?", (key,))]

    def drop(self, author: AuthorId, key: bytes, seq: int) -> None:
        """The record with that number, or an older one under that key, and what was still to be done with it."""
        gone = self.db.run("DELETE FROM envelopes WHERE author=? AND key=? AND seq<=?", (author, key, seq)).rowcount
        self.db.run("DELETE FROM incoming WHERE author=? AND key=? AND seq<=?", (author, key, seq))
        if gone:
            for table in ("merge_queue", "waiting", "quarantine"):
                self.db.run(f"DELETE FROM {table} WHERE author=? AND key=?", (author, key))

    def is_unmerged(self, key: bytes) -> bool:
        """Whether any record under this key still waits for something."""
        known = "author IN (SELECT author FROM heads)"
        tables = ("merge_queue", "waiting", "quarantine", "incoming")
        return any(self.db.one(f"SELECT 1 FROM {t} WHERE {known} AND key=? LIMIT 1", (key,)) for t in tables)

    def count_after(self, author: AuthorId, after: int) -> int:
        return self.db.number("SELECT count(*) FROM envelopes WHERE author=? AND seq>?", (author, after))

    def set_sum(self, author: AuthorId, hash_payload: Callable[[bytes], bytes]) -> int:
        """The set hash recomputed from the stored envelopes, as a number."""
        total = 0
        for key, seq, payload in self.db.run("SELECT key, seq, payload FROM envelopes WHERE author=?", (author,)):
            total = sethash.add(total, sethash.element(key, seq, hash_payload(payload)))
        return total

    # ---- incoming
    def put_incoming(self, envelopes: Iterable[Envelope]) -> None:
        self.db.run_many(
            "INSERT INTO incoming (author, key, seq, payload, signature) VALUES (?,?,?,?,?)" + _REPLACE,
            ((e.author, e.key, e.seq, e.payload, e.signature) for e in envelopes),
        )

    def incoming(self, author: AuthorId) -> list[Envelope]:
        rows = self.db.all(
            "SELECT author, seq, key, payload, signature FROM incoming WHERE author=? ORDER BY seq", (author,)
        )
        return [Envelope(*row) for row in rows]

    def clear_incoming(self, author: AuthorId) -> None:
        self.db.run("DELETE FROM incoming WHERE author=?", (author,))

    def promote(self, head: Head, whole: bool) -> int:
        """Moves the author's incoming records into the document, queues them for merging and sets the head.

        `whole`: the incoming records are all there is; others of this author are dropped. Returns how many moved.
        """
        author = head.author
        self.db.run(
            "INSERT OR REPLACE INTO merge_queue (author, key, seq, again)"
            " SELECT i.author, i.key, i.seq, e.key IS NOT NULL"
            " FROM incoming AS i LEFT JOIN envelopes AS e ON e.author=i.author AND e.key=i.key WHERE i.author=?",
            (author,),
        )
        if whole:
            self.db.run(
                "DELETE FROM envelopes WHERE author=? AND key NOT IN (SELECT key FROM incoming WHERE author=?)",
                (author, author),
            )
            for table in ("merge_queue", "waiting", "quarantine"):  # what was still to be done with them
                self.db.run(
                    f"DELETE FROM {table} WHERE author=? AND key NOT IN (SELECT key FROM incoming WHERE author=?)",
                    (author, author),
                )
        moved = self.db.run(
            "INSERT INTO envelopes (author, key, seq, payload, signature)"
            " SELECT author, key, seq, payload, signature FROM incoming WHERE author=? ORDER BY seq" + _REPLACE,
            (author,),
        ).rowcount
        self.clear_incoming(author)
        self.set_head(head)
        return moved

    # ---- merging
    def to_merge(self, limit: int) -> tuple[list[Envelope], set[Envelope]]:
        """What is next, and those of it that took the place of an earlier record by the same author."""
        rows = self.db.all(
            "SELECT e.author, e.seq, e.key, e.payload, e.signature, q.again FROM merge_queue AS q"
            " JOIN envelopes AS e ON e.author=q.author AND e.key=q.key ORDER BY q.author, q.seq LIMIT ?",
            (limit,),
        )
        envelopes = [Envelope(*row[:5]) for row in rows]
        return envelopes, {envelope for envelope, row in zip(envelopes, rows, strict=True) if row[5]}

    def merged(self, envelopes: Iterable[Envelope]) -> None:
        self.db.run_many("DELETE FROM merge_queue WHERE author=? AND key=?", ((e.author, e.key) for e in envelopes))

    def merge_backlog(self) -> int:
        return self.db.number("SELECT count(*) FROM merge_queue")

    def wait_for(self, waits_for: AuthorId, author: AuthorId, key: bytes) -> None:
        self.db.run("INSERT OR IGNORE INTO waiting VALUES (?,?,?)", (waits_for, author, key))

    def requeue_waiting(self, advanced: AuthorId) -> int:
        """That author's head advanced: what waited for it is merged again."""
        moved = self.db.run(
            "INSERT OR REPLACE INTO merge_queue (author, key, seq) SELECT w.author, w.key, e.seq FROM waiting AS w"
            " JOIN envelopes AS e ON e.author=w.author AND e.key=w.key WHERE w.waits_for=?",
            (advanced,),
        ).rowcount
        if moved:
            self.db.run("DELETE FROM waiting WHERE waits_for=?", (advanced,))
        return moved

    # ---- quarantine
    def quarantine(self, author: AuthorId, key: bytes, seq: int, reason: str, now_ms: int) -> None:
        self.db.run("INSERT OR REPLACE INTO quarantine VALUES (?,?,?,?,?)", (author, key, seq, reason, now_ms))

    def release(self, author: AuthorId, key: bytes) -> None:
        """A later record under the same key was understood."""
        self.db.run("DELETE FROM quarantine WHERE author=? AND key=?", (author, key))

    def quarantined(self) -> dict[str, int]:
        """Reason -> count."""
        return dict(self.db.all("SELECT reason, count(*) FROM quarantine GROUP BY reason"))
