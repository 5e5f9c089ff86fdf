# SPDX-License-Identifier: GPL-3.0-or-later
"""Ingest of records of other devices: verified, held back until their head fits, then part of our document.

Completeness is exact per author: pages wait in `incoming` until the set hash of everything we then hold is the one in
the author's signed head. If it is not, the whole author is asked for again, of somebody else where possible.

Nothing is stored beyond the record budget of the author's device, nor into the reserve of the disk: the author's
records wait then, and nothing else does (`budgets`).
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import structlog

from holofsd.codec.letting_go import decode_dropped
from holofsd.codec.signing import verify_envelopes, verify_head
from holofsd.core import sethash
from holofsd.core.document import Envelope, Head
from holofsd.core.errors import HoloError, NoSpace, ProtocolViolation, Refused
from holofsd.core.ids import AuthorId, NodeId
from holofsd.core.record_budget import NOTHING, Weight
from holofsd.store import faults
from holofsd.store.database import is_full
from holofsd.store.threads import Pool, in_thread
from holofsd.sync.budgets import Excess, RecordBudgets
from holofsd.sync.config import KEY_DROPPED, NODE_KEY_LENGTH, SyncConfig
from holofsd.sync.members import Members
from holofsd.sync.merging import Merger
from holofsd.sync.pages import IngestCounts, Page, Run
from holofsd.sync.publication import weigh
from holofsd.sync.widest import Widest
from holofsd.tree.local import LocalVolume

log = structlog.get_logger(__name__)

VERIFY_INLINE = 4
"""So many records are verified on the loop; more of them in a thread, which costs about as much to reach."""
BLAMED_FOR = 60.0
ASKED_AGAIN = 30.0
"""A device that answers nothing is asked again after so many seconds more, if nobody else is: others are looked at
several times until then."""
WAITS_FOR = 600.0
"""Seconds after which an author over its budget is tried again: its newer records may take less."""
UNLIMITED = 2**64
"""No author has published so much: it counts only of those that may go on."""


class _TooMuch(Exception):
    """A page is not stored. Raised inside the transaction, which it takes back."""

    def __init__(self, excess: Excess, missing: int = 0) -> None:
        super().__init__(excess)
        self.excess = excess
        self.missing = missing


@dataclass(frozen=True, slots=True)
class _Wait:
    """Reason why the records of an author wait, and until when (loop time)."""

    excess: Excess
    until: float


class Ingest:
    """Intake of records of other authors: one run for each author, from the asking to the head that completes it.

    `on_advanced(head, source)` is called after an author's head moved; `on_run_ended()` when a run ended somehow, so
    that sessions look again at what they could ask for. `on_waiting(author, source)`: that author's records are not
    wanted now. `on_no_space(bytes)`: so much is to be freed before records can be stored.
    """

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
        self._waits: dict[AuthorId, _Wait] = {}
        self._left_over = volume.store.documents.weigh_incoming()
        """Of runs that a former process began and that were not taken up again."""
        self.budgets = RecordBudgets(volume.store, members, config.reserve_bytes, self._under_way, self.waiting)
        self.widest = Widest(volume.store, members, merger)
        self.counts = IngestCounts()
        self.on_waiting: Callable[[AuthorId, object], None] = lambda author, source: None
        self.on_no_space: Callable[[int], None] = lambda missing: None
        self.on_advanced: Callable[[Head, object], None] = lambda head, source: None
        self.on_said_again: Callable[[], None] = lambda: None
        self.on_run_ended: Callable[[], None] = lambda: None

    async def check_heads(self, heads: Iterable[Head]) -> None:
        """A claim that we are behind is only worth a signed head. Raises ProtocolViolation for a false one."""
        known = [head for head in heads if self.knows(head.author)]
        news = [h for h in known if self.widest.is_news(h) or _beyond(h, self._documents.head(h.author))]
        signed = partial(self._heads_signed, news)
        await self._require(signed, len(news), "A device showed a head with a false signature.")

    def _heads_signed(self, heads: Sequence[Head]) -> bool:
        return all(verify_head(self._store.volume, head) for head in heads)

    async def _require(self, signed: Callable[[], bool], number: int, otherwise: str) -> None:
        """Raises ProtocolViolation, which says `otherwise`, unless so many signatures are good."""
        if not (signed() if number <= VERIFY_INLINE else await in_thread(Pool.BACKGROUND, signed)):
            self.counts.false_signatures += 1
            raise ProtocolViolation(otherwise)

    # ---- asking
    def claim(self, shown: Head, source: object) -> tuple[int, bool] | None:
        """(after, whole) to ask that source for, if it shows more than we hold and nobody else sends that author.

        `shown` went through `check_heads`.
        """
        author = shown.author
        held = self._documents.head(author)
        seq = held.seq if held else 0
        if author == self._volume.author or not self._members.head_counts(shown) or self._has_to_wait(author):
            return None
        if self._documents.is_going(author):
            return None  # what is left of it here is not what its next records add to
        if held is not None and not _beyond(shown, held) and not self._members.is_last(shown, held):
            self.widest.compare(shown, held)
            return None
        if shown.seq <= self._documents.folded_to(author):
            return None  # nobody needs it, and those who let go of it do not answer
        now = asyncio.get_running_loop().time()
        run, patience = self._runs.get(author), self._config.run_timeout
        if run is not None and now - run.alive_at < patience + (ASKED_AGAIN if run.source is source else 0):
            return None
        if self._blamed.get((author, source), 0.0) > now:
            return None
        if run is not None and run.source is not source:
            # Each of the others has its turn first: two that answer nothing would keep it between them.
            self._blamed[(author, run.source)] = now + patience * self._config.sessions_most
        if shown.seq <= seq:
            self._disagreed.add(author)  # two histories: all of the one that wins is needed
        run = self._begin(held, shown, source, now)
        self._runs[author] = run
        return run.last, run.whole

    def _begin(self, held: Head | None, shown: Head, source: object, now: float) -> Run:
        """A run towards a head that this source shows. What an interrupted one left counts where the source can go on
        from there: one that holds less, or another history, has nothing to add to it and would not answer."""
        author, seq = shown.author, held.seq if held else 0
        total = sethash.from_bytes(held.set_hash) if held else sethash.EMPTY
        stored, last = self._documents.extent_of_incoming(author)
        is_beyond = last > shown.seq
        paused = self._paused.pop(author, None)
        if paused is not None and not is_beyond and (paused.base, paused.whole) == (seq, author in self._disagreed):
            return replace(paused, source=source, alive_at=now)
        self._left_over.pop(author, None)
        if is_beyond or author in self._disagreed:
            with self._store.db.transaction():
                self._documents.clear_incoming(author)
        if author in self._disagreed:
            return Run(source, seq, 0, True, sethash.EMPTY, 0, now)
        weight = self._documents.weights().get(author, NOTHING)
        run = Run(source, seq, seq, False, total, seq, now, weight=weight)
        if stored and not is_beyond:
            self._resume(author, run, stored, last)
        return run

    def _resume(self, author: AuthorId, run: Run, stored: int, last: int) -> None:
        """Goes on where a run stopped that a former process began, with so many records up to that number."""
        if not self._members.counts(author, last):
            # Its device was removed since: this was on the way to a head that will never be taken over.
            with self._store.db.transaction():
                self._documents.clear_incoming(author)
            return
        for envelope in self._documents.incoming(author):
            if (before := self._before(run, author, envelope.key)) is not None:
                run.take_out(before)
            run.add(envelope)
            run.stored_bytes += weigh(envelope).bytes
        run.stored, run.last = stored, last
        if (dropped := self._documents.incoming_under(author, KEY_DROPPED)) is not None:
            self._note_dropped(run, dropped, {})

    def held(self, author: AuthorId) -> Head | None:
        """Returns the head up to which we hold everything by that author."""
        return self._documents.head(author)

    def is_coming_whole(self, author: AuthorId) -> bool:
        """Returns whether another history of that author is on its way here."""
        run = self._runs.get(author) or self._paused.get(author)
        return run is not None and run.whole

    def knows(self, author: AuthorId) -> bool:
        """Did anybody ever certify that author?"""
        return author in self._members.membership.authors

    def behind(self, shown: Iterable[Head]) -> int:
        """Counts the records that we lack of authors that count, going by the heads that another device shows."""
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
        """Begins anew with authors that may not write any more: they are asked for up to the head that counts."""
        for author in {*self._runs, *self._paused, *self._waits}:
            if not self._members.counts(author, UNLIMITED):
                self._runs.pop(author, None)
                self._paused.pop(author, None)
                self._waits.pop(author, None)

    def forget(self, author: AuthorId) -> None:
        """Forgets what was on its way of an author that is not needed any more."""
        for known in (self._runs, self._paused, self._left_over, self._waits):
            known.pop(author, None)

    # ---- what has to wait
    def waiting(self) -> dict[AuthorId, Excess]:
        """Authors whose records are not taken now, and why."""
        now = asyncio.get_running_loop().time()
        return {a: wait.excess for a, wait in self._waits.items() if wait.excess is not Excess.DISK or now < wait.until}

    def budgets_changed(self) -> None:
        """There may be room for what had to wait."""
        self._waits.clear()
        self.on_run_ended()

    def _has_to_wait(self, author: AuthorId) -> bool:
        wait = self._waits.get(author)
        return wait is not None and asyncio.get_running_loop().time() < wait.until

    def _let_wait(self, author: AuthorId, source: object, full: _TooMuch) -> None:
        """Lets the records of an author wait: they are not asked for, and ignored, until there is room. What has
        arrived stays, and counts."""
        if author not in self._waits:
            log.warning("records have to wait", author=author.hex()[:8], why=full.excess)
        pause = self._config.no_space_retry if full.excess is Excess.DISK else WAITS_FOR
        self._waits[author] = _Wait(full.excess, asyncio.get_running_loop().time() + pause)
        if (run := self._runs.pop(author, None)) is not None:
            self._paused[author] = run
        self.on_waiting(author, source)
        if full.missing:
            self.on_no_space(full.missing)

    def _under_way(self) -> dict[AuthorId, Weight]:
        """Returns what the records of authors will weigh when all that has arrived counts."""
        weights = self._documents.weights()
        found = {author: weights.get(author, NOTHING) + more for author, more in self._left_over.items()}
        for runs in (self._paused, self._runs):
            for author, run in runs.items():
                found[author] = run.weight + weights.get(author, NOTHING) if run.whole else run.weight
        return found

    def give_up(self, source: object) -> None:
        """Gives up what a session was sending when it ends, so that others may be asked. What has arrived stays."""
        for author in [author for author, run in self._runs.items() if run.source is source]:
            self._paused[author] = self._runs.pop(author)
        for pair in [pair for pair in self._blamed if pair[1] is source]:
            del self._blamed[pair]
        self.on_run_ended()

    # ---- receiving
    async def page(self, page: Page, source: object) -> Head | None:
        """Takes in one page; the head that it completed, None otherwise. Raises ProtocolViolation for false signatures.

        A page that nobody asked for and that does not follow on what we hold is ignored, and so is one by an author
        that may not write: whoever relays it need not know yet.
        """
        if not self.expects(page, source):
            self.counts.ignored_pages += 1
            return None
        if (full := self._no_room(page)) is not None:
            self._let_wait(page.author, source, full)
            return None
        await self._verify(page)
        if not self.expects(page, source):  # somebody else was faster
            self.counts.ignored_pages += 1
            return None
        return self._take(page, source)

    def _no_room(self, page: Page) -> _TooMuch | None:
        """Whether the page cannot be stored, as far as can be told without looking at what it replaces."""
        run = self._runs.get(page.author)
        more = sum(weigh(envelope).bytes for envelope in page.envelopes)
        if page.head is not None and run is not None:
            more += run.stored_bytes
        if missing := self.budgets.missing_room(more):
            return _TooMuch(Excess.DISK, missing)
        excess = self.budgets.refuses_more(page.author)
        return _TooMuch(excess) if excess is not None else None

    def expects(self, page: Page, source: object) -> bool:
        """Whether that page is what was asked of that source, or follows on what is held."""
        if self._has_to_wait(page.author) or self._documents.is_going(page.author):
            return False
        held = self._documents.head(page.author)
        seq = held.seq if held else 0
        run = self._runs.get(page.author)
        # The history that a removal names may take the place of another one that is as long, and is then the last.
        first = 1 if run is not None and run.whole else seq + 1
        if page.author == self._volume.author or not self._members.counts(page.author, first):
            return False
        if page.head is not None and not self._members.head_counts(page.head):
            return False
        if run is not None:
            return run.source is source and run.base == seq and page.after == run.last and page.whole == run.whole
        return page.head is not None and not page.whole and page.after == seq and page.head.seq > seq

    async def _verify(self, page: Page) -> None:
        signed = partial(self._signed, page)
        await self._require(signed, len(page.envelopes), "A device sent a record with a false signature.")

    def _signed(self, page: Page) -> bool:
        volume = self._store.volume
        if page.head is not None and not verify_head(volume, page.head):
            return False
        return all(verify_envelopes(volume, page.envelopes))

    def _take(self, page: Page, source: object) -> Head | None:
        run = self._runs.get(page.author)
        now = asyncio.get_running_loop().time()
        if run is None:
            assert page.head is not None, "what is not asked for is complete"
            run = self._begin(self._documents.head(page.author), page.head, source, now)
            if run.stored or run.whole:
                # An interrupted run or a disagreement comes first; this head will be asked for then.
                self._paused[page.author] = run
                self.counts.ignored_pages += 1
                return None
        run.alive_at = now
        before = self._documents.head(page.author)
        try:
            head = self._take_in_safely(page, run)
        except _TooMuch as full:
            self._let_wait(page.author, source, full)
            return None
        self._waits.pop(page.author, None)
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
        except _TooMuch:
            run.put_back(before)
            raise
        except (NoSpace, sqlite3.OperationalError) as error:
            if not is_full(error):
                raise
            run.put_back(before)
            raise _TooMuch(Excess.DISK, run.stored_bytes) from error
        except HoloError:
            self._runs.pop(page.author, None)
            raise
        except Exception:  # a record from outside must not stop the others: the merge queue takes them one by one
            log.exception("merging failed; taken in through the queue", author=page.author.hex()[:8])
            run.put_back(before)
            with self._store.db.transaction():
                return self._take_in(page, run, direct=False)

    def _take_in(self, page: Page, run: Run, direct: bool) -> Head | None:
        """Takes in a page inside a transaction. Returns the head, if the set agrees with it."""
        earlier: dict[bytes, Envelope] = {}
        again: set[Envelope] = set()
        for envelope in page.envelopes:
            previous = self._previous(run, envelope.author, envelope.key)
            if previous is not None:
                again.add(envelope)
                run.take_out(previous)
            run.add(envelope)
            run.last = envelope.seq
            earlier[envelope.key] = envelope
            self._note_dropped(run, envelope, earlier)
        agreed = page.head is not None and sethash.to_bytes(run.total) == page.head.set_hash
        if page.head is not None and not agreed:
            self._documents.clear_incoming(page.author)
            return None
        before = self._documents.weights().get(page.author, NOTHING)
        if (excess := self.budgets.excess(page.author, before, run.weight)) is not None:
            raise _TooMuch(excess)
        direct = direct and len(page.envelopes) <= self._config.merge_slice
        if not direct:
            self._documents.put_incoming(page.envelopes)
            run.stored += len(page.envelopes)
            run.stored_bytes += sum(weigh(envelope).bytes for envelope in page.envelopes)
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
            self._documents.set_head(head, run.weight)
            self._merger.merge(page.envelopes, again)
        else:
            if run.whole:
                self._keep_what_goes(head.author)
            self._documents.promote(head, run.whole, run.weight)
        if run.dropped:
            for key, seq in run.dropped.items():
                self._documents.drop(head.author, key, seq)
            self._merger.records_went([NodeId(key) for key in run.dropped])
        self._documents.requeue_waiting(head.author)
        self._store.db.after_commit(self._merger.kick)

    def _keep_what_goes(self, author: AuthorId) -> None:
        """Queues for publication what only the former history of an author said, before another one takes its place
        here: for devices that never heard it. It stays merged here in any case."""
        nodes = self._documents.nodes_not_incoming(author, NODE_KEY_LENGTH)
        if nodes and not self._members.can_write:
            self._merger.told.leave_unsaid()
        elif nodes:
            for node in nodes:
                self._store.outbox.add(node, self._volume.now_ms())
            log.warning("another history of an author takes over", author=author.hex()[:8], said_again=len(nodes))
            self._store.db.after_commit(self.on_said_again)

    def _previous(self, run: Run, author: AuthorId, key: bytes) -> Envelope | None:
        """The record that the next one under this key takes the place of, in what the set hash counts."""
        if run.stored:
            waiting = self._documents.incoming_under(author, key)
            if waiting is not None:
                return waiting
        return self._before(run, author, key)

    def _before(self, run: Run, author: AuthorId, key: bytes) -> Envelope | None:
        """Returns the record under this key that the document has already, if the run does not drop it."""
        held = None if run.whole else self._documents.envelope(author, key)
        return None if held is None or held.seq <= run.dropped.get(key, 0) else held

    def _note_dropped(self, run: Run, envelope: Envelope, earlier: Mapping[bytes, Envelope]) -> None:
        """Takes records out of the author's set that it dropped. They leave ours as soon as the head is reached.

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
                run.take_out(record)
                run.dropped[item.key] = item.seq
                self._documents.drop_incoming(record.author, item.key, item.seq)

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
        self.on_run_ended()

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
