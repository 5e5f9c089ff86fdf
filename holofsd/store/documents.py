# SPDX-License-Identifier: GPL-3.0-or-later
"""The document replica of a volume: envelopes, heads, incoming pages, and what is still to be merged."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from holofsd.core import sethash
from holofsd.core.document import Envelope, Head
from holofsd.core.ids import AuthorId, NodeId
from holofsd.core.record_budget import NOTHING, WEIGHT, Weight
from holofsd.store.database import Database

_REPLACE: Final = (
    " ON CONFLICT (author, key) DO UPDATE SET seq=excluded.seq, payload=excluded.payload, signature=excluded.signature"
)


_REASONS: Final = 20
"""Most reasons of quarantine that are told one by one: a hostile device can make up any number."""
_WORK: Final = {
    "merge_queue": "author, key",
    "waiting": "waits_for, author, key",
    "quarantine": "author, key",
    "unproven": "node, author",
}
"""Tables about records of an author, each with what names a row."""
_DOTS: Final = ("heads", "folded", "let_go_authors")
"""Tables that say how many versions an author vouches for, beside `widest`."""
_SLICE: Final = 500
"""Rows read or deleted at once, where there may be very many."""
_SLICE_BYTES: Final = 4 << 20


class Documents:
    """All methods but plain reads belong inside `db.transaction()`."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self._dots: dict[AuthorId, int] = {}
        self._weights: dict[AuthorId, Weight] | None = None
        self._refused: dict[AuthorId, int] | None = None
        self._going: set[AuthorId] | None = None
        self._widest: dict[AuthorId, Head] | None = None
        db.on_rollback.append(self._forget_cached)

    def _forget_cached(self) -> None:
        self._dots.clear()
        self._weights = self._refused = self._going = self._widest = None

    # ---- heads and envelopes
    def head(self, author: AuthorId) -> Head | None:
        row = self.db.one("SELECT author, seq, dots, set_hash, signature FROM heads WHERE author=?", (author,))
        return Head(*row) if row else None

    def heads(self) -> dict[AuthorId, Head]:
        return self._heads_in("heads")

    def _heads_in(self, table: str) -> dict[AuthorId, Head]:
        rows = self.db.all(f"SELECT author, seq, dots, set_hash, signature FROM {table}")
        return {row[0]: Head(*row) for row in rows}

    def dot_limits(self) -> dict[AuthorId, int]:
        """Returns for each author the highest dot counter that its head, as we hold it, vouches for."""
        limits: dict[AuthorId, int] = {}
        for table in (*_DOTS, "widest"):
            for author, dots in self.db.all(f"SELECT author, dots FROM {table}"):
                limits[author] = max(dots, limits.get(author, 0))
        return limits

    def dots_of(self, author: AuthorId) -> int:
        """Returns what `dot_limits` says of one author; 0 without a head. Remembered: every replaced version asks for
        it."""
        known = self._dots.get(author)
        if known is None:
            widest = self.widest().get(author)
            known = self._dots[author] = max(self.dots_but_widest(author), widest.dots if widest else 0)
        return known

    def dots_but_widest(self, author: AuthorId) -> int:
        """Returns what `dots_of` would without `keep_widest`."""
        return max(self.db.number(f"SELECT dots FROM {table} WHERE author=?", (author,)) for table in _DOTS)

    def folded(self) -> dict[AuthorId, Head]:
        """The last heads of authors whose records nobody needs any more."""
        return self._heads_in("folded")

    def folded_to(self, author: AuthorId) -> int:
        """Returns the sequence number up to which nothing of that author is to be had."""
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
        """All its records and its head; those of others stay. What its head said of its dots goes on counting.

        The rows go bit by bit: `sweep`. Until none is left nothing of that author is taken in.
        """
        self.db.run(
            "INSERT INTO let_go_authors SELECT ?1, coalesce((SELECT dots FROM heads WHERE author=?1), 0), 1 WHERE true"
            " ON CONFLICT (author) DO UPDATE SET dots=max(dots, excluded.dots), going=1",
            (author,),
        )
        self.db.run("DELETE FROM heads WHERE author=?", (author,))
        self._forget_cached()
        self._sweep(author)

    def is_going(self, author: AuthorId) -> bool:
        if self._going is None:
            self._going = {row[0] for row in self.db.all("SELECT author FROM let_go_authors WHERE going=1")}
        return author in self._going

    def sweep(self) -> bool:
        """Deletes some rows of authors that were let go of; False if there are none."""
        row = self.db.one("SELECT author FROM let_go_authors WHERE going=1 LIMIT 1")
        if row is not None:
            self._sweep(row[0])
        return row is not None

    def _sweep(self, author: AuthorId) -> None:
        if self._delete_records("envelopes", author) or self._delete_records("incoming", author):
            more = True
        else:
            more = any(self._delete_work(table, author) for table in _WORK)
        if not more:
            self.db.run("UPDATE let_go_authors SET going=0 WHERE author=?", (author,))
        self._going = self._refused = None

    def _delete_records(self, table: str, author: AuthorId) -> bool:
        """Some of them; whether there are more. Large ones take long: each of their pages is looked at."""
        some = f"SELECT rowid, length(payload) FROM {table} WHERE author=? LIMIT ?"
        rows, size, chosen = self.db.all(some, (author, _SLICE + 1)), 0, []
        for row, length in rows[:_SLICE]:
            chosen.append((row,))
            size += length
            if size > _SLICE_BYTES:
                break
        self.db.run_many(f"DELETE FROM {table} WHERE rowid=?", chosen)
        return len(chosen) < len(rows)

    def _delete_work(self, table: str, author: AuthorId) -> bool:
        """Deletes one slice of an author's rows from a table about records."""
        names = _WORK[table]
        some = f"DELETE FROM {table} WHERE ({names}) IN (SELECT {names} FROM {table} WHERE author=? LIMIT ?)"
        return self.db.run(some, (author, _SLICE)).rowcount == _SLICE

    def authors_of_incoming(self) -> list[AuthorId]:
        found: list[AuthorId] = []
        while row := self.db.one("SELECT author FROM incoming WHERE author>? LIMIT 1", (found[-1] if found else b"",)):
            found.append(row[0])
        return found

    def clear_some_incoming(self, author: AuthorId) -> bool:
        """Deletes some rows; whether there are more."""
        return self._delete_records("incoming", author)

    def is_any_unmerged(self, author: AuthorId) -> bool:
        """Whether any record of that author waits for something."""
        tables = ("merge_queue", "waiting", "quarantine", "incoming")
        return any(self.db.one(f"SELECT 1 FROM {t} WHERE author=? LIMIT 1", (author,)) for t in tables)

    def is_any_queued(self, author: AuthorId) -> bool:
        """Whether any record of that author is still to be merged."""
        return self.db.one("SELECT 1 FROM merge_queue WHERE author=? LIMIT 1", (author,)) is not None

    def has_newer_nodes(self, author: AuthorId, node_key: int, begin: bytes) -> bool:
        """Whether a record in quarantine is about a node, and of another format than the one that begins so."""
        sql = (
            "SELECT 1 FROM quarantine AS q JOIN envelopes AS e ON e.author=q.author AND e.key=q.key"
            " WHERE q.author=? AND length(q.key)=? AND substr(e.payload, 1, ?)!=? LIMIT 1"
        )
        return self.db.one(sql, (author, node_key, len(begin), begin)) is not None

    def has_merged_nodes(self, author: AuthorId, after: int, node_key: int) -> bool:
        """Whether a record with a higher number is about a node, and was understood."""
        sql = (
            "SELECT 1 FROM envelopes AS e WHERE author=? AND seq>? AND length(key)=? AND NOT EXISTS"
            " (SELECT 1 FROM quarantine AS q WHERE q.author=e.author AND q.key=e.key) LIMIT 1"
        )
        return self.db.one(sql, (author, after, node_key)) is not None

    def set_head(self, head: Head, weight: Weight = NOTHING) -> None:
        """`weight`: what the records up to this head take; counted as the set hash is."""
        before = self.head(head.author)
        widest = self.widest().get(head.author)
        if before is not None and before.dots > head.dots:
            self.keep_widest(before)
        elif widest is not None and widest.dots <= head.dots:
            self.forget_widest(head.author)
        self._dots.pop(head.author, None)
        self.weights()[head.author] = weight
        self.db.run(
            "INSERT OR REPLACE INTO heads (author, seq, dots, set_hash, signature, bytes, strange)"
            " VALUES (?,?,?,?,?,?,?)",
            (head.author, head.seq, head.dots, head.set_hash, head.signature, weight.bytes, weight.strange),
        )

    # ---- heads that vouch for more than later ones
    def widest(self) -> dict[AuthorId, Head]:
        """Heads that vouch for more of their author's versions than a later one of it. Remembered."""
        if self._widest is None:
            self._widest = self._heads_in("widest")
        return self._widest

    def keep_widest(self, head: Head) -> None:
        """Lets a head go on counting for what it vouches for, whatever later ones say."""
        known = self.widest().get(head.author)
        if known is None or known.dots < head.dots:
            row = (head.author, head.seq, head.dots, head.set_hash, head.signature)
            self.forget_widest(head.author)
            self.db.run("INSERT INTO widest VALUES (?,?,?,?,?)", row)

    def forget_widest(self, author: AuthorId) -> None:
        self.db.run("DELETE FROM widest WHERE author=?", (author,))
        self._widest = None
        self._dots.pop(author, None)

    # ---- what records take
    def weights(self) -> dict[AuthorId, Weight]:
        """Weighs each author's records up to the head that is here."""
        if self._weights is None:
            rows = self.db.all("SELECT author, bytes, strange FROM heads")
            self._weights = {row[0]: Weight(row[1], row[2]) for row in rows}
        return self._weights

    def refused_bytes(self, author: AuthorId) -> int:
        """Weight of the records in quarantine that look as if they could be understood, and cannot."""
        if self._refused is None:
            self._refused = dict(self.db.all("SELECT author, sum(bytes) FROM quarantine GROUP BY author"))
        return self._refused.get(author, 0)

    def weigh_incoming(self) -> dict[AuthorId, Weight]:
        """Weighs the records that wait for a head. Reads them all."""
        rows = self.db.all(
            f"SELECT author, sum(length(key) + length(payload) + {WEIGHT}) FROM incoming GROUP BY author"
        )
        return {row[0]: Weight(row[1]) for row in rows}

    def recount_strange(self, keys: Iterable[bytes], node_key: int, begin: bytes) -> None:
        """Counts anew the records that this program does not understand: another one may have counted. Known are
        records under these keys, and under keys of `node_key` bytes, whose payload begins with `begin`."""
        authors = "SELECT author FROM heads WHERE strange > 0 UNION SELECT author FROM quarantine"
        known = list(keys)
        marks = ",".join("?" * len(known))
        for (author,) in self.db.all(authors):
            strange = self.db.number(
                f"SELECT sum(length(key) + length(payload) + {WEIGHT}) FROM envelopes WHERE author=?"
                f" AND ((length(key)!=? AND key NOT IN ({marks})) OR substr(payload, 1, ?)!=?)",
                (author, node_key, *known, len(begin), begin),
            )
            self.db.run("UPDATE heads SET strange=? WHERE author=?", (strange, author))
        self._weights = None

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
        self.drop_incoming(author, key, seq)
        if gone:
            self.release(author, key)
            for table in ("merge_queue", "waiting"):
                self.db.run(f"DELETE FROM {table} WHERE author=? AND key=?", (author, key))
            self.db.run("DELETE FROM unproven WHERE node=? AND author=?", (key, author))

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

    def incoming(self, author: AuthorId) -> Iterator[Envelope]:
        """Yields an author's records that wait for a head, in the order in which keys arrived. They are read as they
        are asked for: all of them may not fit into memory."""
        columns, after = "author, seq, key, payload, signature", 0
        sql = f"SELECT {columns}, rowid FROM incoming WHERE +author=? AND rowid>? ORDER BY rowid LIMIT ?"
        while rows := self.db.all(sql, (author, after, _SLICE)):
            for row in rows:
                yield Envelope(*row[:5])
            after = rows[-1][5]

    def incoming_under(self, author: AuthorId, key: bytes) -> Envelope | None:
        row = self.db.one(
            "SELECT author, seq, key, payload, signature FROM incoming WHERE author=? AND key=?", (author, key)
        )
        return Envelope(*row) if row else None

    def nodes_not_incoming(self, author: AuthorId, key_length: int) -> list[NodeId]:
        """Lists the nodes whose record by this author is not among its incoming records, or differs there."""
        rows = self.db.all(
            "SELECT e.key FROM envelopes AS e LEFT JOIN incoming AS i ON i.author=e.author AND i.key=e.key"
            " WHERE e.author=? AND length(e.key)=? AND (i.seq IS NULL OR i.seq!=e.seq OR i.payload!=e.payload)",
            (author, key_length),
        )
        return [row[0] for row in rows]

    def drop_incoming(self, author: AuthorId, key: bytes, seq: int) -> None:
        """Deletes the record with that number, or an older one under that key, from those that wait for a head."""
        self.db.run("DELETE FROM incoming WHERE author=? AND key=? AND seq<=?", (author, key, seq))

    def extent_of_incoming(self, author: AuthorId) -> tuple[int, int]:
        """(how many there are, the highest number)."""
        row = self.db.one("SELECT count(*), coalesce(max(seq), 0) FROM incoming WHERE author=?", (author,))
        return (row[0], row[1]) if row else (0, 0)

    def clear_incoming(self, author: AuthorId) -> None:
        self.db.run("DELETE FROM incoming WHERE author=?", (author,))

    def promote(self, head: Head, whole: bool, weight: Weight = NOTHING) -> int:
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
            for table in _WORK:  # what was still to be done with them
                key = "node" if table == "unproven" else "key"
                self.db.run(
                    f"DELETE FROM {table} WHERE author=? AND {key} NOT IN (SELECT key FROM incoming WHERE author=?)",
                    (author, author),
                )
            self._refused = None
        moved = self.db.run(
            "INSERT INTO envelopes (author, key, seq, payload, signature)"
            " SELECT author, key, seq, payload, signature FROM incoming WHERE author=? ORDER BY seq" + _REPLACE,
            (author,),
        ).rowcount
        self.clear_incoming(author)
        self.set_head(head, weight)
        return moved

    # ---- merging
    def to_merge(self, limit: int, most_bytes: int) -> tuple[list[Envelope], set[Envelope]]:
        """Returns the records to merge next, about `most_bytes` of them and at least one if there is one; and those of
        them that took the place of an earlier record by the same author."""
        sql = (
            "SELECT e.author, e.seq, e.key, e.payload, e.signature, q.again FROM merge_queue AS q"
            " JOIN envelopes AS e ON e.author=q.author AND e.key=q.key ORDER BY q.author, q.seq LIMIT ?"
        )
        envelopes: list[Envelope] = []
        again: set[Envelope] = set()
        size = 0
        for row in self.db.each(sql, (limit,)):
            envelopes.append(Envelope(*row[:5]))
            if row[5]:
                again.add(envelopes[-1])
            size += len(row[3])
            if size >= most_bytes:
                break
        return envelopes, again

    def merged(self, envelopes: Iterable[Envelope]) -> None:
        self.db.run_many("DELETE FROM merge_queue WHERE author=? AND key=?", ((e.author, e.key) for e in envelopes))

    def merge_backlog(self) -> int:
        return self.db.number("SELECT count(*) FROM merge_queue")

    def wait_for(self, waits_for: AuthorId, author: AuthorId, key: bytes) -> None:
        self.db.run("INSERT OR IGNORE INTO waiting VALUES (?,?,?)", (waits_for, author, key))

    def requeue_waiting(self, advanced: AuthorId) -> int:
        """Queues records again that waited for this author's head, which has advanced. Returns their number."""
        moved = self.db.run(
            "INSERT OR REPLACE INTO merge_queue (author, key, seq) SELECT w.author, w.key, e.seq FROM waiting AS w"
            " JOIN envelopes AS e ON e.author=w.author AND e.key=w.key WHERE w.waits_for=?",
            (advanced,),
        ).rowcount
        if moved:
            self.db.run("DELETE FROM waiting WHERE waits_for=?", (advanced,))
        return moved

    # ---- quarantine
    def requeue(self, author: AuthorId, key: bytes) -> None:
        """Queues one record to be merged again."""
        self.db.run(
            "INSERT OR IGNORE INTO merge_queue (author, key, seq)"
            " SELECT author, key, seq FROM envelopes WHERE author=? AND key=?",
            (author, key),
        )

    def requeue_quarantined(self) -> None:
        """Queues all records in quarantine to be merged again."""
        self._requeue_quarantined("1", ())

    def requeue_refused(self, reasons: tuple[str, str], other: str, begin: bytes) -> None:
        """Queues records again that are in quarantine for one of these reasons; or for the reason `other`, with a key
        that does not begin so."""
        which = "q.reason IN (?,?) OR (q.reason=? AND substr(q.key, 1, ?)!=?)"
        self._requeue_quarantined(which, (*reasons, other, len(begin), begin))

    def _requeue_quarantined(self, which: str, values: Sequence[str | int | bytes]) -> None:
        self.db.run(
            "INSERT OR IGNORE INTO merge_queue (author, key, seq) SELECT q.author, q.key, e.seq FROM quarantine AS q"
            f" JOIN envelopes AS e ON e.author=q.author AND e.key=q.key WHERE {which}",
            values,
        )

    def quarantine(self, author: AuthorId, key: bytes, seq: int, reason: str, now_ms: int, weight: int = 0) -> bool:
        """False if it is there already, for the same reason. `weight`: of a record that looks as if it could be
        understood."""
        row = self.db.one("SELECT seq, reason FROM quarantine WHERE author=? AND key=?", (author, key))
        self.release(author, key)
        self.db.run("INSERT INTO quarantine VALUES (?,?,?,?,?,?)", (author, key, seq, reason, now_ms, weight))
        if self._refused is not None:
            self._refused[author] = self._refused.get(author, 0) + weight
        return row is None or (row[0], row[1]) != (seq, reason)

    def release(self, author: AuthorId, key: bytes) -> None:
        """A later record under the same key was understood, or the record is gone."""
        row = self.db.one("SELECT bytes FROM quarantine WHERE author=? AND key=?", (author, key))
        if row is None:
            return
        self.db.run("DELETE FROM quarantine WHERE author=? AND key=?", (author, key))
        if self._refused is not None:
            self._refused[author] = self._refused.get(author, 0) - row[0]

    def quarantined(self) -> dict[str, int]:
        """Reason -> count."""
        rows = self.db.all("SELECT reason, count(*) AS n FROM quarantine GROUP BY reason ORDER BY n DESC, reason")
        reasons: dict[str, int] = dict(rows[:_REASONS])
        if more := sum(row[1] for row in rows[_REASONS:]):
            reasons["for other reasons"] = more
        return reasons
