# SPDX-License-Identifier: GPL-3.0-or-later
"""Members of a volume as this device knows them: the stored credentials, and what they add up to.

Credentials are self-contained signed messages. They are verified here before they are stored, merged with what others
show, and resolved to a `Membership` by a pure function of `core.members`. Subscribers hear of every change. What has no
room (`core.credentials`) is dropped, and counted against whoever signed it; who passed it on is not to blame.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final

import structlog

from holofs_api.words import count
from holofsd.codec.signing import SigningKey, make_certificate, sign_grant, sign_removed
from holofsd.core import credentials as sets
from holofsd.core import members as rules
from holofsd.core.allowance import Allowance
from holofsd.core.document import AuthorSeq, Certificate, Credentials, Grant, Head, Membership, Removed, Role
from holofsd.core.errors import DeviceUnknown, NotAMember, Refused, RoleTooLow
from holofsd.core.ids import AuthorId, DeviceId, VolumeId
from holofsd.core.text import device_name
from holofsd.store.threads import Pool, in_thread
from holofsd.store.volume import VolumeStore
from holofsd.sync.apart import is_apart
from holofsd.sync.config import CASE_CREDENTIALS, CREDENTIAL_BYTES, HELLO_BYTES, HELLO_CREDENTIALS, MAX_NAME
from holofsd.sync.publication import summary
from holofsd.sync.scrutiny import chain_shown, verified
from holofsd.sync.signers import signed_too_much, verify_all
from holofsd.sync.stored_credentials import check_readable, forget_credentials, load_credentials, store_credentials

log = structlog.get_logger(__name__)

IN_A_THREAD: Final = 512
"""A set of more credentials than this is worked out beside the loop."""
SHARE: Final = 0.1
"""Part of one processor that is spent on what others sign, however much that is, after `BURST` seconds at once."""
BURST: Final = 0.2
MOST_PATIENCE: Final = 2.0
"""Seconds that credentials wait for that at most."""
KEPT_MOST: Final = 1000
"""So many grants of a removed admin can be kept: what is said of it must have room in a hello."""

LAST_ADMIN = "This is the last admin of the volume: make another device an admin first."
NO_ROOM = (
    "This device has granted and removed as often as there is room for in this volume: do it on another admin's device."
    " Nothing was changed."
)
NO_ROOM_TO_KEEP = (
    "That device let in and removed more devices than this one has room to vouch for. Remove it with --undo: then those"
    " that it let in go with it, and those that it removed are members again. Nothing was changed."
)
STANDS_ON_IT = (
    "This device is an admin only by what that one did: undoing it would leave this device without the right to do so."
    " Do it on another admin's device, or use the recovery code first. Nothing was changed."
)


@dataclass(frozen=True, slots=True)
class _Worked:
    """Sum of two sets of credentials. `base`: the set that was known before; `folded`: the authors folded by then."""

    base: Credentials
    folded: frozenset[AuthorId]
    merged: Credentials
    membership: Membership


class Members:
    """Members of one volume: the credentials that are known, and what follows from them."""

    def __init__(self, store: VolumeStore, node_key: SigningKey) -> None:
        self._store = store
        self._node_key = node_key
        self.device = DeviceId(node_key.public)
        stored = load_credentials(store)
        self.credentials = sets.relevant(store.volume, stored)
        self._gave_way: dict[AuthorId, DeviceId] = {}
        """Authors whose records are here, and whose certificates gave way to others."""
        self._note_gave_way(sets.without(stored, self.credentials))
        self.membership = self._finished(rules.membership_of(store.volume, self.credentials, self._folded()))
        self.called: Callable[[DeviceId], str] = lambda device: ""
        """What a device calls itself; empty where it has not said."""
        self._subscribers: list[Callable[[], None]] = []
        self.volume_key: SigningKey | None = None
        """Where this device keeps the recovery code: it signs removals then, so that no admin can undo them."""
        self._learning = asyncio.Lock()
        self._allowance = Allowance(SHARE, BURST)
        self._counting: tuple[Credentials, rules.Standing] | None = None
        self._held: tuple[Credentials, frozenset[object]] | None = None
        """What follows from a set of credentials, worked out when it is first asked for."""

    @property
    def volume(self) -> VolumeId:
        return self._store.volume

    @property
    def role(self) -> Role | None:
        """Our own; None: removed, or not known yet."""
        return self.membership.roles.get(self.device)

    @property
    def can_write(self) -> bool:
        role = self.role
        return role is not None and role >= Role.WRITER

    def others(self) -> list[DeviceId]:
        return sorted(device for device in self.membership.roles if device != self.device)

    def is_member(self, device: DeviceId) -> bool:
        return device in self.membership.roles

    def was_removed(self, device: DeviceId) -> bool:
        return device in self.membership.removed and not self.is_member(device)

    def name_of(self, device: DeviceId) -> str:
        """Returns the name that a device gives itself; else the one in the grant that let it in."""
        return self.called(device) or device_name(self.membership.names.get(device, ""), MAX_NAME)

    def told(self, device: DeviceId) -> str:
        """The name for a sentence: with the beginning of the id where another member has the same."""
        name, short = self.name_of(device), device.hex()[:8]
        if not name:
            return short
        is_shared = any(other != device and self.name_of(other) == name for other in self.membership.roles)
        return f"{name} ({short})" if is_shared else name

    def counts(self, author: AuthorId, seq: int) -> bool:
        """Does that author's record with this number count?"""
        return rules.author_may_write(self.membership, author, seq)

    def head_counts(self, head: Head) -> bool:
        """May everything up to that head be taken over?"""
        return rules.head_counts(self.membership, head.author, head.seq, head.set_hash)

    def is_last(self, head: Head, held: Head | None) -> bool:
        """Whether `head` is the history that counts, of two by a removed device's author, whatever the hashes."""
        last = rules.last_accepted(self.membership, head.author)
        if last is None or held is None or self.counts(head.author, last.seq + 1):
            return False
        named = (last.seq, last.set_hash)
        if (head.seq, head.set_hash) != named or named == (held.seq, held.set_hash):
            return False
        return held.seq == last.seq or (held.seq > last.seq and is_apart(self._store, last))

    def proof(self, peer: DeviceId) -> Credentials:
        """Credentials for a hello: they show another member that this device is one, even if it has not heard of it.

        The chain of the other device too, and those of admins that were removed: it may have been removed by one of
        them, and learns here that it is a member.
        """
        admins = {grant.device for grant in self.credentials.grants if grant.role is Role.ADMIN}
        devices = (self.device, peer, *sorted(self.membership.removed.keys() & admins))
        return self._proof_of(devices, HELLO_CREDENTIALS, HELLO_BYTES)

    def shown_to(self, device: DeviceId) -> Credentials:
        """Returns credentials for a device that was just let in: all if they are few, else its own case."""
        few = self.credentials.size() <= HELLO_CREDENTIALS
        return self.credentials if few else self.case_of(device)

    def case_of(self, device: DeviceId) -> Credentials:
        """Returns the credentials that show that a device is a member, or is not one any more."""
        return self._proof_of((device,), CASE_CREDENTIALS, CREDENTIAL_BYTES)

    def _proof_of(self, devices: Iterable[DeviceId], most: int, most_bytes: int) -> Credentials:
        standing = self._standing()
        counting: frozenset[Grant | Removed] = frozenset([*standing.grants, *standing.removals])
        return sets.proof_of(self.volume, self.credentials, counting, devices, most, most_bytes)

    def _standing(self) -> rules.Standing:
        """Returns the grants and removals that count now. Remembered until the credentials change."""
        if self._counting is None or self._counting[0] is not self.credentials:
            self._counting = self.credentials, rules.standing(self.volume, self.credentials)
        return self._counting[1]

    def subscribe(self, callback: Callable[[], None]) -> None:
        """Called after every change of what is known; be quick."""
        self._subscribers.append(callback)

    # ---- learning from others
    async def learn(self, offered: Credentials) -> bool:
        """Verifies and keeps what is new; True if anything was. Raises Refused if there is a false signature.

        What has no room is dropped without a word to whoever shows it: it may have known less than we do.
        """
        if self._unknown(offered).size() == 0:
            return False
        async with self._learning:
            clock = asyncio.get_running_loop().time
            if (pause := self._allowance.wait(clock())) > 0:
                await asyncio.sleep(min(pause, MOST_PATIENCE))
            began = clock()
            try:
                return await self._learn(self._unknown(offered))
            finally:
                now = clock()
                self._allowance.take(min(now - began, MOST_PATIENCE * SHARE), now)

    def _unknown(self, offered: Credentials) -> Credentials:
        """Returns the offered credentials that are not known. Cheap: a device may show the same again and again."""
        if self._held is None or self._held[0] is not self.credentials:
            known = self.credentials
            self._held = known, frozenset((*known.statements, *known.certificates))
        held = self._held[1]
        return Credentials(
            tuple(grant for grant in offered.grants if grant not in held),
            tuple(removed for removed in offered.removals if removed not in held),
            tuple(certificate for certificate in offered.certificates if certificate not in held),
        )

    async def _learn(self, fresh: Credentials) -> bool:
        known = self.credentials
        if known.size() + fresh.size() <= IN_A_THREAD:
            kept = self._with_room(known, fresh)
        else:
            kept = await in_thread(Pool.BACKGROUND, self._with_room, known, fresh)
        dropped = sets.without(fresh, kept)
        wanted = sets.without(fresh, dropped)
        await verify_all(self.volume, wanted)
        if dropped.size():
            await self._blame(dropped, kept)
        if wanted.size() == 0:
            return False
        known = self.credentials
        if known.size() + wanted.size() <= IN_A_THREAD:
            return self._keep(wanted)
        worked = await in_thread(Pool.BACKGROUND, self._work_out, known, wanted, self._folded())
        if worked.base is not self.credentials or worked.folded != self._folded():  # something happened meanwhile
            return self._keep(wanted)
        return self._apply(worked)

    def _with_room(self, known: Credentials, fresh: Credentials) -> Credentials:
        """Returns the credentials that would be kept with `fresh`. Nothing else of `fresh` needs to be verified."""
        return sets.relevant(self.volume, sets.merge_credentials(known, fresh))

    async def _blame(self, dropped: Credentials, kept: Credentials) -> None:
        """Counts what had no room against its signer, as far as it is a member and did sign it."""
        for excess in await signed_too_much(self.volume, dropped, kept, frozenset(self.membership.roles)):
            self._store.lies.note(excess.signer, excess.what, "", excess.number)

    async def would_be_member(self, device: DeviceId, offered: Credentials) -> bool:
        """Is that device a member, given what it shows? Learns its chain then; keeps nothing of a stranger.

        Raises Refused. Call it within a budget (`scrutiny.Scrutiny`): anybody can make up what is shown.
        """
        fresh = chain_shown(self.volume, offered, device, self.credentials)
        if fresh.size():
            fresh = await verified(self.volume, fresh, self.credentials)
        if fresh.size():
            merged = sets.merge_credentials(self.credentials, fresh)
            if device in rules.resolve(self.volume, merged).roles:
                self._keep(fresh)
        return self.is_member(device)

    # ---- keeping
    def _keep(self, fresh: Credentials) -> bool:
        """Stores what has to do with this volume; `fresh` was verified, or is ours."""
        return self._apply(self._work_out(self.credentials, fresh, self._folded()))

    def _work_out(self, known: Credentials, fresh: Credentials, folded: frozenset[AuthorId]) -> _Worked:
        merged = sets.relevant(self.volume, sets.merge_credentials(known, fresh))
        return _Worked(known, folded, merged, rules.membership_of(self.volume, merged, folded))

    def _apply(self, worked: _Worked) -> bool:
        if worked.merged == self.credentials:
            return False
        dropped = sets.without(self.credentials, worked.merged)
        self._note_gave_way(dropped)
        with self._store.db.transaction():
            store_credentials(self._store, sets.without(worked.merged, self.credentials))
            needless = tuple(c for c in dropped.certificates if c.author not in self._gave_way)
            forget_credentials(self._store, replace(dropped, certificates=needless))
        self.credentials = worked.merged
        self.membership = self._finished(worked.membership)
        self._tell()
        return True

    def _note_gave_way(self, dropped: Credentials) -> None:
        """Certificates that gave way stay stored where the author's records are here: we say those again."""
        for certificate in dropped.certificates:
            if self._store.documents.head(certificate.author) is not None:
                self._gave_way[certificate.author] = certificate.device

    def _finished(self, membership: Membership) -> Membership:
        for author, device in self._gave_way.items():
            if author not in membership.authors:
                membership.surplus.setdefault(author, device)
        return membership

    def _tell(self) -> None:
        for callback in self._subscribers:
            callback()

    def _folded(self) -> frozenset[AuthorId]:
        return frozenset(self._store.documents.folded())

    def authors_folded(self) -> None:
        """An author was folded: another one of its device may count in its place."""
        if self.membership.surplus:
            self.membership = self._finished(rules.membership_of(self.volume, self.credentials, self._folded()))
            self._tell()

    # ---- issuing
    def certify(self, author_key: SigningKey) -> None:
        """Certifies an author of ours. A reader's author never is: nobody would count its records."""
        if self.can_write and AuthorId(author_key.public) not in self.membership.authors:
            self._keep(Credentials(certificates=(make_certificate(author_key, self._node_key, self.volume),)))

    def has_place(self, author: AuthorId) -> bool:
        """Whether that author would count as one more of ours."""
        certificate = Certificate(author, self.device, b"", b"")
        merged = sets.merge_credentials(self.credentials, Credentials(certificates=(certificate,)))
        return author in rules.resolve(self.volume, merged, self._folded()).authors

    def grant(self, device: DeviceId, role: Role, name: str) -> None:
        """Gives a device a role. A lower one than before takes effect like a removal and a grant."""
        self._require_admin()
        current = self.membership.roles.get(device)
        if current == role:
            return
        # A mere grant of a lower role would leave what an admin issued counting: see core.members.
        lowered = current is not None and current > role
        if lowered and self.is_last_admin(device):
            raise RoleTooLow(LAST_ADMIN)
        generation = self._next(device)
        removals = self._removals(device, generation - 1, undo=False) if lowered else ()
        issued = sign_grant(self._node_key, self.volume, device, role, generation, name[:MAX_NAME])
        self._issue(Credentials(grants=(issued,), removals=removals), makes_an_admin=role is Role.ADMIN)

    def change_role(self, device: DeviceId, role: Role) -> None:
        """Gives another role to a device that is a member. Raises RoleTooLow, DeviceUnknown."""
        self._require_admin()
        if not self.is_member(device):
            raise DeviceUnknown("No member of this volume has that name or key.")
        self.grant(device, role, self.name_of(device))

    def remove(self, device: DeviceId, undo: bool = False) -> None:
        """Ends a membership. What the device did as an admin stays: whom it let in, removed, or gave another role.

        `undo`: none of that counts any more. Whom it removed is a member again, if nobody else removed it. This may be
        said of a device that was removed before, too: then the others become what they would be without its word.
        """
        self._require_admin()
        if undo and self.was_removed(device):
            # Ours counts before its own word, where we are senior; what is different then is said by us.
            self._issue(Credentials(removals=self._removals_of(device, undo=True)))
            if (rest := self._undoing(device)).size():
                self._issue(rest)
            return
        if not self.is_member(device):
            raise DeviceUnknown("No member of this volume has that name or key.")
        if self.is_last_admin(device):
            raise RoleTooLow(LAST_ADMIN)
        if undo:
            self._issue(Credentials(removals=self._undone(device)))
            return
        removals = self._removals_of(device, undo=False)
        try:
            self._issue(Credentials(removals=removals))
        except Refused as error:
            if len(removals) == 1 and not removals[0].kept_grants:
                raise
            raise Refused(NO_ROOM_TO_KEEP) from error

    def _undone(self, device: DeviceId) -> tuple[Removed, ...]:
        """Returns the removal of a device with all that it did, but for what makes this device an admin. Raises
        RoleTooLow."""
        for spare_us in (False, True):
            removals = self._removals_of(device, undo=True, spare_us=spare_us)
            worked = self._work_out(self.credentials, Credentials(removals=removals), self._folded())
            if device == self.device or worked.membership.roles.get(self.device) is Role.ADMIN:
                return removals
        raise RoleTooLow(STANDS_ON_IT)

    def _undoing(self, device: DeviceId) -> Credentials:
        """Returns statements that make others what they would be without the word of a device. Our role stays."""
        me = self.device
        before = rules.without_word_of(self.volume, self.credentials, device, me)
        now, names = self.membership.roles, self.membership.names | before.names
        ended: list[Removed] = []
        granted: list[Grant] = []
        for other in sorted((now.keys() | before.roles.keys()) - {me, device}):
            role, generation = before.roles.get(other), self._next(other)
            if role is None:
                ended += self._removals_of(other, undo=True, spare_us=True)
            elif role != now.get(other):
                if other in now:
                    ended += self._removals(other, generation - 1, undo=False)
                name = names.get(other, "")[:MAX_NAME]
                granted.append(sign_grant(self._node_key, self.volume, other, role, generation, name))
        return Credentials(tuple(granted), tuple(ended))

    def recover(self, volume_key: SigningKey, name: str) -> None:
        """Makes this device an admin by the volume's own key, whoever else is one."""
        own = [g for g in self._standing().grants if g.device == self.device and g.role is Role.ADMIN]
        if self.role is Role.ADMIN and any(grant.issuer == self.volume for grant in own):
            return
        generation = rules.free_generation(self.volume, self.credentials, self.device)
        issued = sign_grant(volume_key, self.volume, self.device, Role.ADMIN, generation, name[:MAX_NAME])
        self._issue(Credentials(grants=(issued,)))

    def _next(self, device: DeviceId) -> int:
        return rules.last_generation(self.volume, self.credentials, device) + 1

    def _issue(self, issued: Credentials, makes_an_admin: bool = False) -> None:
        """Raises Refused, and changes nothing, if the others could not read it, or if there is no room for it without
        ending something else."""
        worked = self._work_out(self.credentials, issued, self._folded())
        check_readable(issued)
        lacking = sets.without(issued, worked.merged)
        if lacking.size() and not self._is_there(lacking):
            raise Refused(NO_ROOM)
        dropped = sets.without(self.credentials, worked.merged)
        signers = {statement.issuer for statement in issued.statements}
        if any(statement.issuer in signers for statement in dropped.statements):
            raise Refused(NO_ROOM)  # what is said now comes before what was said then
        if makes_an_admin and (lost := self._heard(self.membership.roles.keys() - worked.membership.roles.keys())):
            raise Refused(
                f"One more admin leaves less room to the others, and {count(len(lost), 'device')} that they let in"
                " would be out. Remove an admin that let in very many, with --undo. Nothing was changed."
            )
        self._apply(worked)

    def _heard(self, devices: set[DeviceId]) -> set[DeviceId]:
        """Returns the devices that have sent a mark. Devices that an admin made up have not."""
        heard = {device for device, _at_ms, _mark in self._store.marks()} if devices else set()
        return {device for device in devices if device in heard}

    def _is_there(self, issued: Credentials) -> bool:
        """The same was said before, with another signature."""
        merged = sets.merge_credentials(self.credentials, issued)
        return merged.size() == self.credentials.size()

    def _removals_of(self, device: DeviceId, undo: bool, spare_us: bool = False) -> tuple[Removed, ...]:
        return self._removals(device, rules.removal_generation(self._next(device) - 1), undo, spare_us)

    def _removals(self, device: DeviceId, generation: int, undo: bool, spare_us: bool = False) -> tuple[Removed, ...]:
        """The removal of a device, and where it is an admin whose work stays, its own removals said again by us.

        `undo`: its work does not stay; `spare_us`: but for what made us an admin.

        A removal stops counting with the admin that signed it: whoever a lost admin had removed would be back.
        """
        stay = rules.weighty_grants(grant for grant in self._standing().grants if grant.issuer == device)
        if undo:
            stay = [g for g in stay if spare_us and g.device == self.device and g.role is Role.ADMIN]
        kept = [sets.grant_digest(grant) for grant in stay]
        if len(kept) > KEPT_MOST:
            raise Refused(NO_ROOM_TO_KEEP)
        key = self.volume_key or self._node_key
        said_again = () if undo else self._said_again(device)
        again = (sign_removed(key, self.volume, r.device, r.generation, r.accepted, r.kept_grants) for r in said_again)
        return (sign_removed(key, self.volume, device, generation, self._accepted(device), kept), *again)

    def _said_again(self, issuer: DeviceId) -> list[Removed]:
        """Lists the removals by `issuer` that have to count without it, too: of devices that another one vouches for or
        that wrote, and those that keep a grant.

        A device that `issuer` alone let in is out with its word. Repeating that for each device that it made up could
        use up the room of this device.
        """
        vouched = {digest for r in self.credentials.removals if r.issuer != issuer for digest in r.kept_grants}
        matter = {g.device for g in self.credentials.grants if g.issuer != issuer or sets.grant_digest(g) in vouched}
        wrote = self._store.documents.folded().keys() | self._store.documents.heads().keys()
        matter |= {owner for author, owner in self.membership.authors.items() if author in wrote}
        own = [r for r in self._standing().removals if r.issuer == issuer]
        issuers = {r.device for r in own if r.kept_grants}
        kept = {sets.grant_digest(g): g.issuer for g in self._standing().grants if g.issuer in issuers}
        matter |= {r.device for r in own if any(kept.get(digest) == r.device for digest in r.kept_grants)}
        return rules.summed_up(r for r in own if r.device in matter - {issuer, self.device})

    def _accepted(self, device: DeviceId) -> list[AuthorSeq]:
        """The last heads that count of a device's authors."""
        heads = self._store.documents.folded() | self._store.documents.heads()
        return [
            summary(heads[author])
            for author, owner in sorted(self.membership.authors.items())
            if owner == device and author in heads
        ]

    def _require_admin(self) -> None:
        if self.role is None:
            raise NotAMember("This device is not a member of the volume any more.")
        if self.role < Role.ADMIN:
            raise RoleTooLow("Only an admin of the volume can do this: ask the device that shared it with you.")

    def is_last_admin(self, device: DeviceId) -> bool:
        return [d for d, role in self.membership.roles.items() if role == Role.ADMIN] == [device]
