# SPDX-License-Identifier: GPL-3.0-or-later
"""What other devices send of the document: verified, held back until its head fits, then part of ours.

Completeness is exact per author: pages wait in `incoming` until the set hash of everything we then hold is the one in
the author's signed head. If it is not, the whole author is asked for again, of somebody else where possible.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import structlog

from holofsd.codec.letting_go import decode_dropped
from holofsd.codec.signing import verify_envelopes, verify_head
from holofsd.core import sethash
from holofsd.core.document import Envelope, Head
from holofsd.core.errors import HoloError, ProtocolViolation, Refused
from holofsd.core.ids import AuthorId, NodeId
from holofsd.store import faults
from holofsd.sync.config import KEY_DROPPED, NODE_KEY_LENGTH, SyncConfig
from holofsd.sync.members import Members
from holofsd.sync.merging import Merger
from holofsd.sync.pages import IngestCounts, Page, Run
from holofsd.sync.publication import element_of
from holofsd.tree.local import LocalVolume

log = structlog.get_logger(__name__)

VERIFY_INLINE = 4
"""So many records are verified on the loop; more of them in a thread, which costs about as much to reach."""
BLAMED_FOR = 60.0
UNLIMITED = 2**64
"""No author has published so much: it counts only of those that may go on."""


class Ingest:
    """`on_advanced(head, source)` is called after an author's head moved; `on_settled()` when a run ended somehow, so
    that sessions look again at what they could ask for."""

    def __init__(self, volume: LocalVolume, members: Members, merger: Merger, config: SyncConfig) -> None:
        self._volume = volume
        self._store = volume.store
        self._documents = volume.store.documents
        self._members = members
        self._merger = merger
        self._config = config
        self._runs: dict[AuthorId, Run] = {}
        self._paused: dict[AuthorId, Run] = {}
        self._disagreed: set[AuthorId] = set()
        self._blamed: dict[tuple[AuthorId, object], float] = {}
        self.counts = IngestCounts()
        self.on_advanced: Callable[[Head, object], None] = lambda head, source: None
        self.on_said_again: Callable[[], None] = lambda: None
        self.on_settled: Callable[[], None] = lambda: None

    async def check_heads(self, heads: Iterable[Head]) -> None:
        """A claim that we are behind is only worth a signed head. Raises ProtocolViolation for a false one."""
        news = [head for head in heads if self.knows(head.author) and _beyond(head, self._documents.head(head.author))]
        if len(news) <= VERIFY_INLINE:
            good = self._heads_signed(news)
        else:
            good = await asyncio.to_thread(self._heads_signed, news)
        if not good:
            self.counts.false_signatures += 1
            raise ProtocolViolation("A device showed a head with a false signature.")

    def _heads_signed(self, heads: Sequence[Head]) -> bool:
        return all(verify_head(self._store.volume, head) for head in heads)

    # ---- asking
    def claim(self, shown: Head, source: object) -> tuple[int, bool] | None:
        """(after, whole) to ask that source for, if it shows more than we hold and nobody else sends that author.

        `shown` went through `check_heads`.
        """
        author = shown.author
        held = self._documents.head(author)
        seq = held.seq if held else 0
        if author == self._volume.author or not self._members.head_counts(shown):
            return None
        if not _beyond(shown, held) and not self._members.is_last(shown, held):
            return None
        if shown.seq <= self._documents.folded_to(author):
            return None  # nobody needs it, and those who let go of it do not answer
        now = asyncio.get_running_loop().time()
        run = self._runs.get(author)
        if run is not None and (run.source is source or now - run.alive_at < self._config.run_timeout):
            return None
        if self._blamed.get((author, source), 0.0) > now:
            return None
        if shown.seq == seq:
            self._disagreed.add(author)  # two histories: all of the one that wins is needed
        run = self._begin(held, author, source, now)
        self._runs[author] = run
        return run.last, run.whole

    def _begin(self, held: Head | None, author: AuthorId, source: object, now: float) -> Run:
        seq = held.seq if held else 0
        total = sethash.from_bytes(held.set_hash) if held else sethash.EMPTY
        paused = self._paused.pop(author, None)
        if paused is not None and paused.base == seq and paused.whole == (author in self._disagreed):
            return replace(paused, source=source, alive_at=now)
        if author in self._disagreed:
            with self._store.db.transaction():
                self._documents.clear_incoming(author)
            return Run(source, seq, 0, True, sethash.EMPTY, 0, now)
        run = Run(source, seq, seq, False, total, seq, now)
        self._resume(author, run)
        return run

    def _resume(self, author: AuthorId, run: Run) -> None:
        """Goes on where a run stopped that a former process began."""
        waiting = self._documents.incoming(author)
        if waiting and not self._members.counts(author, max(envelope.seq for envelope in waiting)):
            # Its device was removed since: this was on the way to a head that will never be taken over.
            with self._store.db.transaction():
                self._documents.clear_incoming(author)
            return
        earlier: dict[bytes, Envelope] = {}
        for envelope in waiting:
            run.total = self._replaced(run, envelope, self._before(run, author, envelope.key))
            run.last = max(run.last, envelope.seq)
            earlier[envelope.key] = envelope
            self._note_dropped(run, envelope, earlier)
        run.stored = len(waiting)

    def held(self, author: AuthorId) -> Head | None:
        """Up to where we hold everything by that author."""
        return self._documents.head(author)

    def knows(self, author: AuthorId) -> bool:
        """Did anybody ever certify that author?"""
        return author in self._members.membership.authors

    def behind(self, shown: Iterable[Head]) -> int:
        """How many numbers of authors that count we lack, going by what somebody shows."""
        heads, folded = self._documents.heads(), self._documents.folded()
        missing = 0
        for head in shown:
            seq = heads[head.author].seq if head.author in heads else 0
            if head.author in folded and head.seq <= folded[head.author].seq:
                continue
            if head.seq > seq and self._members.head_counts(head):
                missing += head.seq - seq
        return missing

    def members_changed(self) -> None:
        """Whoever may not write any more is asked for anew, up to the head that counts."""
        for author in {*self._runs, *self._paused}:
            if not self._members.counts(author, UNLIMITED):
                self._runs.pop(author, None)
                self._paused.pop(author, None)

    def give_up(self, source: object) -> None:
        """That session ended: what it was sending may be asked of others. What has arrived stays."""
        for author in [author for author, run in self._runs.items() if run.source is source]:
            self._paused[author] = self._runs.pop(author)
        for pair in [pair for pair in self._blamed if pair[1] is source]:
            del self._blamed[pair]
        self.on_settled()

    # ---- receiving
    async def page(self, page: Page, source: object) -> Head | None:
        """Takes in one page; the head that it completed, None otherwise. Raises ProtocolViolation for false signatures.

        A page that nobody asked for and that does not follow on what we hold is ignored, and so is one by an author
        that may not write: whoever relays it need not know yet.
        """
        if not self._expected(page, source):
            self.counts.ignored_pages += 1
            return None
        await self._verify(page)
        if not self._expected(page, source):  # somebody else was faster
            self.counts.ignored_pages += 1
            return None
        return self._take(page, source)

    def _expected(self, page: Page, source: object) -> bool:
        held = self._documents.head(page.author)
        seq = held.seq if held else 0
        if page.author == self._volume.author or not self._members.counts(page.author, seq + 1):
            return False
        if page.head is not None and not self._members.head_counts(page.head):
            return False
        run = self._runs.get(page.author)
        if run is not None:
            return run.source is source and run.base == seq and page.after == run.last and page.whole == run.whole
        return page.head is not None and not page.whole and page.after == seq and page.head.seq > seq

    async def _verify(self, page: Page) -> None:
        if len(page.envelopes) <= VERIFY_INLINE:
            good = self._signed(page)
        else:
            good = await asyncio.to_thread(self._signed, page)
        if not good:
            self.counts.false_signatures += 1
            raise ProtocolViolation("A device sent a record with a false signature.")

    def _signed(self, page: Page) -> bool:
        volume = self._store.volume
        if page.head is not None and not verify_head(volume, page.head):
            return False
        return all(verify_envelopes(volume, page.envelopes))

    def _take(self, page: Page, source: object) -> Head | None:
        run = self._runs.get(page.author)
        now = asyncio.get_running_loop().time()
        if run is None:
            run = self._begin(self._documents.head(page.author), page.author, source, now)
            if run.stored or run.whole:
                # An interrupted run or a disagreement comes first; this head will be asked for then.
                self._paused[page.author] = run
                self.counts.ignored_pages += 1
                return None
        run.alive_at = now
        before = self._documents.head(page.author)
        head = self._take_in_safely(page, run)
        faults.reach("receiving.stored" if page.head is None else "receiving.advanced", self._store)
        if page.head is not None:
            self._runs.pop(page.author, None)
            self._finish(page.head, head is not None, run, source, before)
        return head

    def _take_in_safely(self, page: Page, run: Run) -> Head | None:
        before = replace(run, dropped=dict(run.dropped))
        try:
            with self._store.db.transaction():
                return self._take_in(page, run, direct=page.head is not None and not run.stored and not run.whole)
        except HoloError:
            self._runs.pop(page.author, None)
            raise
        except Exception:  # a record from outside must not stop the others: the merge queue takes them one by one
            log.exception("merging failed; taken in through the queue", author=page.author.hex()[:8])
            run.total, run.last, run.stored = before.total, before.last, before.stored
            run.dropped = before.dropped
            with self._store.db.transaction():
                return self._take_in(page, run, direct=False)

    def _take_in(self, page: Page, run: Run, direct: bool) -> Head | None:
        """Inside a transaction. The head, if the set agrees with it."""
        earlier: dict[bytes, Envelope] = {}
        again: set[Envelope] = set()
        for envelope in page.envelopes:
            previous = self._previous(run, envelope.author, envelope.key)
            if previous is not None:
                again.add(envelope)
            run.total = self._replaced(run, envelope, previous)
            run.last = envelope.seq
            earlier[envelope.key] = envelope
            self._note_dropped(run, envelope, earlier)
        agreed = page.head is not None and sethash.to_bytes(run.total) == page.head.set_hash
        if page.head is not None and not agreed:
            self._documents.clear_incoming(page.author)
            return None
        direct = direct and len(page.envelopes) <= self._config.merge_slice
        if not direct:
            self._documents.put_incoming(page.envelopes)
            run.stored += len(page.envelopes)
        if page.head is not None:
            self._advance(page, page.head, run, again if direct else None)
        return page.head

    def _advance(self, page: Page, head: Head, run: Run, again: set[Envelope] | None) -> None:
        """The records become part of the document, and those of a small page part of the tree at once.

        `again`: of such a page, the records that take the place of an earlier one.
        """
        if again is not None:
            for envelope in page.envelopes:
                self._documents.put(envelope)
            self._documents.set_head(head)
            self._merger.merge(page.envelopes, again)
        else:
            if run.whole:
                self._keep_what_goes(head.author)
            self._documents.promote(head, run.whole)
        if run.dropped:
            for key, seq in run.dropped.items():
                self._documents.drop(head.author, key, seq)
            self._merger.records_went([NodeId(key) for key in run.dropped])
        self._documents.requeue_waiting(head.author)
        self._store.db.after_commit(self._merger.kick)

    def _keep_what_goes(self, author: AuthorId) -> None:
        """Before another history of an author takes the place of the one held here: what the former alone said is
        said again by us, for those who never heard it. It stays merged here in any case."""
        if not self._members.can_write:
            return
        rows = self._store.db.all(
            "SELECT e.key FROM envelopes AS e LEFT JOIN incoming AS i ON i.author=e.author AND i.key=e.key"
            " WHERE e.author=? AND length(e.key)=? AND (i.seq IS NULL OR i.seq!=e.seq OR i.payload!=e.payload)",
            (author, NODE_KEY_LENGTH),
        )
        for (key,) in rows:
            self._store.outbox.add(key, self._volume.now_ms())
        if rows:
            log.warning("another history of an author takes over", author=author.hex()[:8], said_again=len(rows))
            self._store.db.after_commit(self.on_said_again)

    def _previous(self, run: Run, author: AuthorId, key: bytes) -> Envelope | None:
        """The record that the next one under this key takes the place of, in what the set hash counts."""
        if run.stored:
            row = self._store.db.one(
                "SELECT author, seq, key, payload, signature FROM incoming WHERE author=? AND key=?", (author, key)
            )
            if row is not None:
                return Envelope(*row)
        return self._before(run, author, key)

    def _before(self, run: Run, author: AuthorId, key: bytes) -> Envelope | None:
        """As above, of what is in the document already."""
        held = None if run.whole else self._documents.envelope(author, key)
        return None if held is None or held.seq <= run.dropped.get(key, 0) else held

    def _note_dropped(self, run: Run, envelope: Envelope, earlier: Mapping[bytes, Envelope]) -> None:
        """What an author keeps no more is out of its set, and out of ours as soon as its head is reached.

        `earlier`: records that came with this one, or before it.
        """
        if envelope.key != KEY_DROPPED:
            return
        try:
            dropped = decode_dropped(envelope.payload)
        except Refused:
            return  # it will be in quarantine, and the set may not fit
        for item in dropped:
            record = earlier.get(item.key) or self._previous(run, envelope.author, item.key)
            if record is not None and record.seq <= item.seq < envelope.seq:
                run.total = sethash.subtract(run.total, element_of(record))
                run.dropped[item.key] = item.seq
                self._store.db.run(
                    "DELETE FROM incoming WHERE author=? AND key=? AND seq<=?", (record.author, item.key, item.seq)
                )

    @staticmethod
    def _replaced(run: Run, envelope: Envelope, previous: Envelope | None) -> int:
        total = run.total if previous is None else sethash.subtract(run.total, element_of(previous))
        return sethash.add(total, element_of(envelope))

    def _finish(self, head: Head, agreed: bool, run: Run, source: object, before: Head | None) -> None:
        author = head.author
        if agreed:
            self._disagreed.discard(author)
            if not _beyond(head, before) and not self._members.is_last(head, before):
                # It showed a head beyond ours, and has nothing to show for it: asking at once would go on for ever.
                self._blamed[(author, source)] = asyncio.get_running_loop().time() + BLAMED_FOR
            self.on_advanced(head, source)
        else:
            self.counts.disagreements += 1
            log.warning("a set of records disagrees", author=author.hex()[:8], seq=head.seq, whole=run.whole)
            if run.whole:
                # Even all of it was not what the head says: this session is not asked for this author for a while.
                self._blamed[(author, source)] = asyncio.get_running_loop().time() + BLAMED_FOR
            self._disagreed.add(author)
        self.on_settled()

    # ---- forks
    def compare(self, shown: Head) -> None:
        """Two heads of one author with equal seq and different sets prove that its key was used twice."""
        held = self._documents.head(shown.author)
        if held is None or held.seq != shown.seq or held.set_hash == shown.set_hash:
            return
        if shown.author not in self.counts.forks and verify_head(self._store.volume, shown):
            self.counts.forks.add(shown.author)
            log.warning("an author has two histories", author=shown.author.hex()[:8], seq=shown.seq)


def _beyond(shown: Head, held: Head | None) -> bool:
    """Whether the other one is to be had. Of two histories with the same number the one with the greater hash wins,
    so that everybody ends with the same."""
    return held is None or (shown.seq, shown.set_hash) > (held.seq, held.set_hash)
