# SPDX-License-Identifier: GPL-3.0-or-later
"""One volume's sync: owns its publisher, merger, fetcher, marks and sessions, and answers for their state."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Final

import structlog

from holofsd.codec.signing import SigningKey, verify_head
from holofsd.core.document import AuthorSeq, Credentials, DeviceInfo, Head, Mark, Membership, Role
from holofsd.core.errors import ProtocolViolation, Refused
from holofsd.core.ids import AuthorId, DeviceId, NodeId, VolumeId
from holofsd.net.api import CloseCode
from holofsd.store import faults
from holofsd.sync import frames
from holofsd.sync.adopting import Adopter
from holofsd.sync.authors import better_author, new_author
from holofsd.sync.budgets import Excess
from holofsd.sync.care import ContentCare
from holofsd.sync.config import SyncConfig
from holofsd.sync.content import Fetcher
from holofsd.sync.dealings import AllDealings
from holofsd.sync.discarding import Discarder
from holofsd.sync.folding import AuthorFolder
from holofsd.sync.forgetting import Forgetter
from holofsd.sync.ingest import Ingest
from holofsd.sync.liars import lie_reports
from holofsd.sync.lost import LostFolders
from holofsd.sync.marks import Marks
from holofsd.sync.members import Members
from holofsd.sync.merging import Merger, requeue_for_members, requeue_quarantined
from holofsd.sync.outgoing import Outgoing, Push
from holofsd.sync.overwriting import Overwriting
from holofsd.sync.pacing import NO_LIMITS
from holofsd.sync.publication import Publication
from holofsd.sync.publisher import Publisher
from holofsd.sync.releasing import Releasing
from holofsd.sync.sealer import Sealer
from holofsd.sync.sealing_again import keep_sealed
from holofsd.sync.serving import ContentServer
from holofsd.sync.session import Session
from holofsd.sync.status import DeviceReport, SyncStatus
from holofsd.sync.tasks import Tasks
from holofsd.sync.turns import ServingTurns
from holofsd.sync.twins import Twins
from holofsd.sync.unavailable import unavailable
from holofsd.sync.warnings import Warnings
from holofsd.tree.local import LocalVolume
from holofsd.tree.outliving import bring_back

log = structlog.get_logger(__name__)

LOOK_AGAIN = 10.0
SAID_SIZE: Final = "said that content has another size than it has"


class VolumeSync:
    """Synchronization of one volume: its sessions and tasks, put together.

    `describe` says what the device record says now. Call `run` once, `close` when done; the store stays open.
    """

    def __init__(
        self,
        volume: LocalVolume,
        node_key: SigningKey,
        describe: Callable[[], DeviceInfo],
        now_ms: Callable[[], int],
        config: SyncConfig | None = None,
    ) -> None:
        self.volume = volume
        self.store = volume.store
        self.node_key = node_key
        self.config = config or SyncConfig()
        self.now_ms = now_ms
        self.store.lies.now_ms = now_ms
        self.describe = describe
        self.members = Members(self.store, node_key)
        self.on_device: Callable[[DeviceInfo], None] = lambda info: None
        """Told of addresses that members' device records name."""
        self.twins = Twins(DeviceId(node_key.public), now_ms)
        """The device's own, from `SyncHub.add` on."""
        self.on_greeting: Callable[[DeviceId, frames.Greeting], None] = lambda device, greeting: None
        """Told what a member says of itself at the beginning of a session."""
        self.on_session_end: Callable[[], None] = lambda: None
        self.merger = Merger(volume, self.members, now_ms, self.config, lambda info: self.on_device(info))
        self.brake = self.merger.brake
        self.overwriting = Overwriting(volume, now_ms, lambda: self.brake.limit)
        self.ingest = Ingest(volume, self.members, self.merger, self.config)
        sealer = Sealer(volume, self.merger.told)
        self.publisher = Publisher(volume, self.members, describe, now_ms, self.config, self._send, sealer)
        self.fetcher = Fetcher(volume, now_ms, self.config, self._content_arrived)
        self.care = ContentCare(volume, self.fetcher, now_ms)
        # What `fs.ports` asks of other devices.
        self.fetch, self.is_whole, self.is_damaged = self.fetcher.fetch, self.care.is_whole, self.care.is_damaged
        self.dealings = AllDealings(self.config)
        turns = ServingTurns(self.members, self.dealings)
        content, bodies, lists = self.store.content, self.store.bodies, self.config.lists
        self.server = ContentServer(content, bodies, turns, self.care.suspect, lists)
        self.marks = Marks(self.store, self.members, node_key, now_ms, self.config, self._is_merged, self._tell_marks)
        self.limits = NO_LIMITS
        self.sessions: dict[DeviceId, Session] = {}
        self.violations: dict[DeviceId, int] = {}
        self.warnings = Warnings(
            self.members, self.merger, self.fetcher, self.ingest, self.publisher, self.overwriting, self.violations
        )
        self._role = self.members.role
        self._role_callbacks: list[Callable[[], None]] = []
        self.adopter = Adopter(volume, self.members, self.merger.told)
        self.forgetter = Forgetter(
            volume, self.members, self.merger, self.publisher, self.marks, self.config, self._send
        )
        self.folder = AuthorFolder(
            volume, self.members, self.merger, self.publisher, self.config, self._heard_all, self._send
        )
        self.lost = LostFolders(volume, self.merger, self.config, self._heard_all)
        self.discarder = Discarder(
            volume,
            self.members,
            self.ingest,
            self.adopter,
            self.folder,
            self.config,
            lambda: self.merger.backlog() > 0,
            self._is_shown,
        )
        self.folder.on_gone = self.discarder.look_soon
        self._tasks = Tasks("sync")
        self._closed = False
        self._unsubscribe = self._connect()

    def _connect(self) -> list[Callable[[], None]]:
        self.members.subscribe(self._members_changed)
        self.merger.on_progress = self._merged
        self.brake.on_released = self.merger.kick
        self.care.on_lost = self.marks.doubt
        self.volume.tree.on_false_size = self._false_size
        self.ingest.on_advanced = self._advanced
        self.ingest.on_run_ended = self._consider_all
        self.ingest.on_said_again = self.publisher.changed
        self.adopter.on_apart = self._consider_all
        self.ingest.on_waiting = self._stop_asking
        self.merger.has_room = self.ingest.budgets.has_room_to_merge
        self.publisher.on_requeued = self.merger.kick
        return [self.volume.on_outbox(self._outbox_changed), self.volume.on_wanted(self.fetcher.wanted)]

    # ---- life
    async def run(self) -> None:
        """Works until `close`. Nothing here waits for the network before the volume can be used."""
        requeue_quarantined(self.volume)
        self._become(better_author(self.members, self.store))
        for work, name in (
            (self.merger.run(), "merger"),
            (self.brake.run(), "brake"),
            (self.care.run(), "care"),
            (self.publisher.run(), "publisher"),
            (Releasing(self.volume, self.config).run(), "releasing"),
            (self.marks.run(), "marks"),
            (self.fetcher.run(), "fetcher"),
            (self.adopter.run(), "adopter"),
            (self.forgetter.run(), "forgetter"),
            (self.folder.run(), "folder"),
            (self.lost.run(), "lost"),
            (self.discarder.run(), "discarder"),
            (self._look_again(), "look again"),
            (keep_sealed(self.volume, self.members, self.merger.told.vetting), "seal again"),
        ):
            self._tasks.spawn(work, name)

    async def close(self) -> None:
        """Ends all sessions and tasks. Idempotent."""
        self._closed = True
        while self._unsubscribe:
            self._unsubscribe.pop()()
        for session in list(self.sessions.values()):
            session.close(CloseCode.GOING_AWAY)
            await session.ended.wait()
        await self._tasks.close()

    async def leave(self) -> Mark:
        """Tells whoever is connected that this device leaves; the mark that says so. `close` it then.

        Sessions end with it, within two seconds, and no new one begins.
        """
        self._closed = True
        mark = self.marks.left()
        sessions = list(self.sessions.values())
        for session in sessions:
            session.end_with(frames.marks([mark]))
        await asyncio.gather(*(session.ended.wait() for session in sessions))
        return mark

    @property
    def closed(self) -> bool:
        return self._closed

    async def _look_again(self) -> None:
        while True:
            await asyncio.sleep(LOOK_AGAIN)
            self.merger.look_at_the_clock()
            self._consider_all()

    # ---- for fs and rpc
    @property
    def id(self) -> VolumeId:
        return self.store.volume

    @property
    def membership(self) -> Membership:
        return self.members.membership

    @property
    def role(self) -> Role | None:
        return self.members.role

    @property
    def can_write(self) -> bool:
        return self.members.can_write

    def on_role_change(self, callback: Callable[[], None]) -> None:
        """Called when this device's own role changed."""
        self._role_callbacks.append(callback)

    def on_no_space(self, callback: Callable[[int], None]) -> None:
        """Called when content of so many bytes has to wait for room on the disk; it is tried again after a while."""
        self.fetcher.room.on_no_space = self.ingest.on_no_space = callback

    def set_record_budget(self, size: int | None) -> None:
        """Sets how much the records of each other device may take here. None: the default. Raises BadArgument."""
        self.ingest.budgets.set_max(size)
        self.ingest.budgets_changed()

    def set_member(self, device: DeviceId, role: Role) -> None:
        """Raises RoleTooLow, NotAMember, DeviceUnknown."""
        self.members.change_role(device, role)

    def remove_member(self, device: DeviceId, undo: bool = False) -> None:
        self.members.remove(device, undo)

    def renamed(self, name: str) -> None:
        """Use the new name of this device. A reader has no records to say it in; its next sessions begin with it."""
        self.volume.device_name = name
        self.publisher.changed()
        if not self.can_write:
            for session in self.sessions.values():
                session.close(CloseCode.GOING_AWAY)

    def is_connected(self, device: DeviceId) -> bool:
        return device in self.sessions

    def has_left(self, device: DeviceId) -> bool:
        """A member by the records that said that it holds the volume no more, and did not come back."""
        return device not in self.sessions and self.marks.has_left(device)

    # ---- state
    def status(self) -> SyncStatus:
        missing, missing_bytes = self.store.content.missing()
        shown = {head.author: head for session in self.sessions.values() for head in session.shown.values()}
        return SyncStatus(
            role=self.role,
            unpublished=self.store.outbox.count(),
            records_behind=self.ingest.behind(shown.values()),
            merge_backlog=self.merger.backlog(),
            content_missing=missing,
            content_missing_bytes=missing_bytes,
            quarantine_reasons=self.store.documents.quarantined(),
            devices=tuple(self._report(device) for device in self.members.others()),
            warnings=tuple(self.warnings.all()),
            lies=lie_reports(self.store.lies.all(), self.members),
            unavailable=unavailable(self.volume, self.fetcher, self.members),
        )

    def _report(self, device: DeviceId) -> DeviceReport:
        safety = self.marks.safety(device, self._own_heads())
        session = self.sessions.get(device)
        return DeviceReport(
            device=device,
            name=self.members.name_of(device),
            role=self.membership.roles[device],
            connected=session is not None,
            complete=safety.complete,
            complete_as_of_ms=safety.as_of_ms,
            records_behind=safety.records_behind,
            clock_ahead_ms=session.clock.ahead_ms if session is not None else None,
            generation=self.membership.generations.get(device, 0),
            left=self.has_left(device),
        )

    def _own_heads(self) -> list[Head]:
        heads = self.store.documents.heads()
        return [heads[author] for author in self.store.own_authors() if author in heads]

    def copies(self) -> int:
        """Counts the other devices that say that they hold everything written here up to now."""
        if self.store.outbox.count():
            return 0
        own = self._own_heads()
        return sum(self.marks.safety(device, own).complete for device in self.members.others())

    async def copy_counts(self) -> AsyncIterator[int]:
        """`copies()` now and after each change of what it depends on; ends never."""
        changed = asyncio.Event()
        self.marks.listen(changed)
        try:
            while True:
                changed.clear()
                yield self.copies()
                await changed.wait()
        finally:
            self.marks.unlisten(changed)

    def _is_merged(self) -> bool:
        return self.merger.backlog() == 0

    # ---- what happens here
    def _outbox_changed(self) -> None:
        self.publisher.outbox_changed()
        self.marks.notify()

    def _send(self, publication: Publication) -> None:
        head = publication.head
        frame = frames.records(head.author, publication.after, False, publication.envelopes, head)
        push = Push(publication, frame)
        for session in self.sessions.values():
            session.outgoing.push(push)
            session.wake()
        self.marks.notify()

    def _content_arrived(self) -> None:
        self.care.arrived()
        self.marks.notify()

    def _false_size(self, node: NodeId, author: AuthorId, said: int, size: int) -> None:
        """Called inside a transaction. What the bytes are decides; who said otherwise is counted."""
        if author not in self.store.own_authors():  # ours passed on what somebody else said, before the content came
            path = (self.volume.tree.path_of(node) or b"").decode("utf-8", "backslashreplace")
            self.store.lies.note(author, SAID_SIZE, f"{path}: {said} bytes, not {size}")

    def _tell_marks(self, marks: list[Mark], source: object) -> None:
        for session in self.sessions.values():
            if session is not source:
                session.outgoing.tell_marks(marks)
                session.wake()

    def _merged(self) -> None:
        """Goes on after everything received, or a slice more of it, was merged into the tree."""
        if self.brake.catching_up and self.merger.backlog() == 0 and self._heard_all():
            self.brake.caught_up()
        # A removed directory that is shown for the sake of files whose removal is held is not given a life of its own.
        if self.can_write and not self.brake.holds and self.merger.backlog() == 0:
            self._put_right()
        self.marks.notify()

    def _put_right(self) -> None:
        """Completes what the removals of others left half done."""
        if self.store.outlived(1):
            with self.store.db.transaction():
                bring_back(self.volume)
            self.merger.kick()  # perhaps there is more
        elif self.store.nodes.revived(1):
            # Not before: a directory with a life of its own does not look removed with the one that outlived.
            with self.store.db.transaction():
                self.volume.reassert_revived()

    def _heard_all(self) -> bool:
        """Whether a device has told what there is (if any can), and none has shown a record that is not here."""
        telling = [session for session in self.sessions.values() if session.ready.is_set()]
        shown = [head for session in telling for head in session.shown.values()]
        waiting = self.ingest.waiting()  # nobody knows when those come
        return bool(telling or not self.members.others()) and not self.ingest.behind(
            head for head in shown if waiting.get(head.author, Excess.DISK) is Excess.DISK
        )

    def _is_shown(self, last: AuthorSeq) -> bool:
        """Whether a session's other side holds exactly what goes up to that head of an author."""
        shown = (session.shown.get(last.author) for session in self.sessions.values())
        return any(head is not None and (head.seq, head.set_hash) == (last.seq, last.set_hash) for head in shown)

    def _advanced(self, head: Head, source: object) -> None:
        """Others are told at once of what came from somebody else; they ask if they still lack it."""
        for session in self.sessions.values():
            if session is not source:
                session.outgoing.announce(head)
                session.wake()
        if head.author in self.store.documents.widest():
            self.adopter.look()
        self.marks.notify()

    def _stop_asking(self, author: AuthorId, source: object) -> None:
        """Stops asking for an author's records, which have to wait: the device that sends them need not go on."""
        for session in self.sessions.values():
            if session is source:
                session.outgoing.ask_no_more(author)
                session.wake()

    def _consider_all(self) -> None:
        for session in self.sessions.values():
            session.consider()

    # ---- what sessions tell (session.Host)
    async def dismissed(self, shown: Credentials) -> None:
        """Learns credentials by which we are no member any more. Raises ProtocolViolation for false signatures."""
        await self.learn_credentials(shown)

    async def learn_credentials(self, offered: Credentials) -> None:
        """Raises ProtocolViolation for false signatures."""
        try:
            await self.members.learn(offered)
        except Refused as error:
            raise ProtocolViolation(f"A device showed credentials that are refused: {error.message}") from error

    def marks_received(self, marks: list[Mark], session: Session) -> None:
        self.marks.receive(marks, session)
        if any(mark.device == session.peer for mark in marks):
            self.fetcher.retry(session.peer)

    def first_have_done(self, session: Session) -> None:
        self.publisher.others_have_told()
        self.merger.kick()

    def heads_shown(self, session: Session, heads: list[Head]) -> None:
        for head in heads:
            if head.author == self.volume.author:
                self._own_head_shown(head)
            else:
                self.ingest.compare(head)

    def folded_shown(self, heads: list[Head]) -> None:
        for head in heads:
            if head.author == self.volume.author:
                self._own_head_shown(head)

    def _own_head_shown(self, shown: Head) -> None:
        """Rotate the author where a peer holds newer signed records of it: docs/model.md#authors-clocks-and-copies."""
        held = self.store.documents.head(shown.author)
        if held is not None and (shown.seq, shown.set_hash) == (held.seq, held.set_hash):
            return
        if held is not None and shown.seq < held.seq:
            return
        if verify_head(self.id, shown):  # a bare claim never counts
            self.rotate_author()

    def rotate_author(self) -> None:
        """A new author for this device, from now on. What the old one published stays; of two histories of it the one
        that everybody takes over is the one that wins in `ingest`, and what the other alone said is said again."""
        log.warning("our author's newer records were shown to us: a new author takes over")
        self._become(new_author(self.members))

    def _become(self, key: SigningKey | None) -> None:
        if key is None:
            return
        with self.store.db.transaction():
            self.volume.rotate_author(key.seed)
        faults.reach("rotating.restamped", self.store)
        self.members.certify(key)
        faults.reach("rotating.certified", self.store)
        self.publisher.changed()

    def violation(self, device: DeviceId, why: str) -> None:
        number = self.violations.get(device, 0) + 1
        if number.bit_count() == 1:  # a device that does it again and again does not fill the log
            log.warning("a device broke the protocol", peer=device.hex()[:8], why=why, times=number)
        if device in self.violations or len(self.violations) < 1024:
            self.violations[device] = number

    def new_outgoing(self, peer: DeviceId) -> Outgoing:
        dealings, clock = self.dealings.of(peer), asyncio.get_running_loop().time
        return Outgoing(self.store.documents, self.members, self.marks.known, self.config, dealings, clock)

    # ---- members
    def _members_changed(self) -> None:
        for device, session in self.sessions.items():
            if self.members.is_member(device):
                session.outgoing.tell_credentials()
                session.wake()
            else:
                session.expel()
        self.ingest.members_changed()
        self.adopter.look()
        self.folder.look_soon()
        self.discarder.look_soon()
        self._become(better_author(self.members, self.store))
        requeue_for_members(self.volume)
        self.merger.kick()
        self.publisher.changed()
        self._consider_all()
        self.marks.notify()
        if self.members.role != self._role:
            self._role = self.members.role
            for callback in self._role_callbacks:
                callback()
