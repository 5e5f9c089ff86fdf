# SPDX-License-Identifier: GPL-3.0-or-later
"""Outgoing statements of a session, in a form that never grows with how slow the other side is.

Everything is kept as the newest thing to say (per author, per device), not as a queue of frames; records are read from
the document when their turn comes. Only a few publications are kept ready, for those who can take them at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from holofsd.core.credentials import issuers_first, pieces, without
from holofsd.core.document import Credentials, Head, Mark
from holofsd.core.ids import AuthorId, DeviceId
from holofsd.store.documents import Documents
from holofsd.sync import frames
from holofsd.sync.config import CREDENTIAL_BYTES, MAX_HEADS, PAGE_BYTES, SyncConfig
from holofsd.sync.dealings import Dealings
from holofsd.sync.members import Members
from holofsd.sync.publication import Publication

NOTHING: Final = (0, b"")
NO_MORE: Final = (1 << 62) - 1
"""As the number after which records are wanted: none is. Who sends them takes the former request back."""


@dataclass(frozen=True, slots=True)
class Push:
    """A publication as a frame, made once for all sessions."""

    publication: Publication
    frame: bytes


@dataclass(slots=True)
class Serving:
    """An author's records that the other side asked for: where the next page starts."""

    last: int
    whole: bool


class Outgoing:
    """One session's side of the conversation. `next_frame` gives what to send next, most urgent first.

    `dealings`: those with the other side; records that it had before go out more slowly. `clock`: the loop's.
    """

    def __init__(
        self,
        documents: Documents,
        members: Members,
        marks: Callable[[], list[Mark]],
        config: SyncConfig,
        dealings: Dealings,
        clock: Callable[[], float],
    ) -> None:
        self._documents = documents
        self._members = members
        self._known_marks = marks
        self._config = config
        self._dealings = dealings
        self._clock = clock
        self.under_limits: Callable[[int], int] = lambda most: most
        """Size of what is sent at once under the limits of now, of at most so much."""
        self._credentials = True
        self._shown = Credentials()
        self._pieces: deque[Credentials] = deque()
        self._have_all = True
        self._haves: dict[AuthorId, Head] = {}
        self._wants: dict[AuthorId, tuple[int, bool]] = {}
        self._confirms: dict[AuthorId, int] = {}
        self._marks: dict[DeviceId, Mark] = {}
        self._serving: dict[AuthorId, Serving] = {}
        self._pushes: deque[Push] = deque()
        self._widest: dict[AuthorId, int] = {}
        """Of the widest heads that were told, how many dots each vouches for."""
        self._small: deque[bytes] = deque(maxlen=16)
        """Pings and pongs: the newest few."""
        self.sent: dict[AuthorId, tuple[int, bytes]] = {}
        """Per author the (seq, set hash) that the other side holds once it has read what was sent."""

    # ---- something to say
    def tell_credentials(self) -> None:
        self._credentials = True

    def announce(self, head: Head) -> None:
        if self.sent.get(head.author, NOTHING) < (head.seq, head.set_hash) and not self._have_all:
            self._haves[head.author] = head

    def ask(self, author: AuthorId, after: int, whole: bool) -> None:
        self._wants[author] = (after, whole)

    def ask_no_more(self, author: AuthorId) -> None:
        self._wants[author] = (NO_MORE, False)

    def confirm(self, head: Head) -> None:
        self._confirms[head.author] = head.seq

    def tell_marks(self, marks: list[Mark]) -> None:
        if not self._have_all:
            self._marks.update((mark.device, mark) for mark in marks)

    def small(self, frame: bytes) -> None:
        self._small.append(frame)

    def serve(self, author: AuthorId, after: int, whole: bool) -> None:
        """The other side asks for records. An author of whom nothing is here is forgotten: there is no end of them."""
        known = author in self._serving or len(self._serving) < MAX_HEADS
        if known and self._documents.head(author) is not None:
            self._serving[author] = Serving(0 if whole else after, whole)

    def pause(self) -> float:
        """The seconds until records that are asked for may go on; 0: they may, or none are asked for."""
        return self._dealings.page_wait(self._clock()) if self._serving else 0.0

    def peer_holds(self, head: Head) -> None:
        self.sent[head.author] = max((head.seq, head.set_hash), self.sent.get(head.author, NOTHING))
        waiting = self._haves.get(head.author)
        if waiting is not None and (waiting.seq, waiting.set_hash) <= (head.seq, head.set_hash):
            del self._haves[head.author]

    def push(self, push: Push) -> None:
        """Sends it at once to somebody who holds what came before; others hear of the head and ask."""
        head = push.publication.head
        if head.author in self._serving or self._have_all:
            return  # the run, or the list of heads, will include it
        holds, _set_hash = self.sent.get(head.author, NOTHING)
        if len(push.frame) > self.under_limits(PAGE_BYTES) < PAGE_BYTES:
            self.announce(head)  # there is a limit, and pages can be as small as that asks for
        elif holds == push.publication.after and len(self._pushes) < self._config.pushes_most:
            self._pushes.append(push)
            self.sent[head.author] = (head.seq, head.set_hash)
        else:
            self.announce(head)

    # ---- saying it
    def _untold_widest(self) -> list[Head]:
        untold = [head for head in self._documents.widest().values() if self._widest.get(head.author, 0) < head.dots]
        self._widest.update((head.author, head.dots) for head in untold)
        return untold

    def farewell(self, peer: DeviceId) -> bytes:
        """The last frame to somebody who is no member any more: the credentials say why."""
        return frames.credentials(self._members.case_of(peer))

    def next_frame(self) -> bytes | None:
        if self._credentials:
            self._credentials = False
            self._show_credentials()
        if self._pieces:
            return frames.credentials(self._pieces.popleft())
        if self._have_all:
            self._have_all = False
            self.tell_marks(self._known_marks())
            return frames.have(self._documents.heads().values(), True, self._documents.folded().values())
        if self._small:
            return self._small.popleft()
        if self._wants:
            author, (after, whole) = self._wants.popitem()
            return frames.want(author, after, whole)
        if self._confirms:
            return frames.confirm(*self._confirms.popitem())
        if self._pushes:
            return self._pushes.popleft().frame
        if self._haves:
            heads, self._haves = list(self._haves.values()), {}
            return frames.have(heads, first=False)
        if widest := self._untold_widest():
            return frames.have((), first=False, widest=widest)
        if self._marks:
            marks, self._marks = list(self._marks.values()), {}
            return frames.marks(marks)
        return self._next_page()

    def _show_credentials(self) -> None:
        """Queues the credentials that the other side has not been shown. Of a set that grows all the time, each goes
        once."""
        known = self._members.credentials
        fresh = list(pieces(without(known, self._shown), CREDENTIAL_BYTES))
        if len(fresh) > 1:
            ordered = issuers_first(self._members.volume, known)
            fresh = list(pieces(without(ordered, self._shown), CREDENTIAL_BYTES))
        self._pieces.extend(fresh)
        self._shown = known

    def _next_page(self) -> bytes | None:
        """A page of each author in turn, so that none keeps the others waiting. Heads move while a run lasts: it ends
        at the one that is ours when its last page is read, so a run needs no snapshot of its own."""
        if self.pause() > 0:
            return None
        while self._serving:
            author = next(iter(self._serving))
            serving = self._serving[author] = self._serving.pop(author)
            head = self._documents.head(author)
            if head is None or (head.seq < serving.last and not serving.whole):
                del self._serving[author]  # we hold no more than they do: nothing to answer with
                continue
            most = self.under_limits(PAGE_BYTES)
            envelopes = self._documents.page(author, serving.last, head.seq, most)
            size = sum(len(envelope.payload) + 200 for envelope in envelopes)
            last = size < most
            after, serving.last = serving.last, envelopes[-1].seq if envelopes else serving.last
            self._dealings.page_sent(author, after, serving.last, size, self._clock())
            if last:
                del self._serving[author]
                self.sent[author] = (head.seq, head.set_hash)
            return frames.records(author, after, serving.whole, envelopes, head if last else None)
        return None
