# SPDX-License-Identifier: GPL-3.0-or-later
"""Who belongs to a volume, as this device knows it: the stored credentials, and what they add up to.

Credentials are self-contained signed messages. They are verified here before they are stored, merged with what others
show, and resolved to a `Membership` by a pure function of `core.members`. Subscribers hear of every change. What has no
room (`core.credentials`) is dropped, and counted against whoever signed it; who passed it on is not to blame.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import structlog

from holofsd.codec.signing import (
    SigningKey,
    make_certificate,
    sign_grant,
    sign_removed,
    verify_certificate,
    verify_grant,
    verify_removed,
)
from holofsd.core import credentials as sets
from holofsd.core import members as rules
from holofsd.core.document import AuthorSeq, Certificate, Credentials, Grant, Head, Membership, Removed, Role
from holofsd.core.errors import BadArgument, DeviceUnknown, NotAMember, Refused, RoleTooLow
from holofsd.core.ids import AuthorId, DeviceId, VolumeId
from holofsd.core.text import device_name
from holofsd.store.volume import VolumeStore
from holofsd.sync.config import HELLO_CREDENTIALS, MAX_NAME
from holofsd.sync.publication import summary
from holofsd.sync.scrutiny import chain_shown, verified
from holofsd.sync.stored_credentials import check_readable, forget_credentials, load_credentials, store_credentials

log = structlog.get_logger(__name__)

VERIFY_INLINE = 16
"""So many signatures are checked on the loop; more of them in a thread."""

IN_A_THREAD: Final = 512
"""A set of more credentials than this is worked out beside the loop."""
PATIENCE: Final = 10
"""After credentials of others took a while to work out, the next wait this many times as long, `MOST_PATIENCE` at most:
a member that goes on signing them costs a tenth of the processor."""
MOST_PATIENCE: Final = 2.0
SHORT: Final = 0.005
"""Seconds; what took no longer is not waited after."""
KEPT_MOST: Final = 1000
"""So many grants of a removed admin can be kept."""
BLAMED_MOST: Final = 8
"""So many of those who signed too much are looked for at once: each costs a signature to verify."""

LAST_ADMIN = "This is the last admin of the volume: make another device an admin first."
TOO_MANY_AUTHORS = "made more certificates of authors than a device may have"
TOO_MANY_STATEMENTS = "granted and removed more than an admin has room for"


@dataclass(frozen=True, slots=True)
class _Worked:
    """What a set adds up to with others. `base`: the set that was known before."""

    base: Credentials
    merged: Credentials
    membership: Membership


class Members:
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
        self._rested_at = 0.0

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
        """As it calls itself; else as it was called when it was let in."""
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
        """Of a removed device's author with two histories: this is the one that counts, whatever the hashes."""
        last = rules.last_accepted(self.membership, head.author)
        if last is None or held is None or self.counts(head.author, last.seq + 1):
            return False
        named = (last.seq, last.set_hash)
        return held.seq == last.seq and (head.seq, head.set_hash) == named != (held.seq, held.set_hash)

    def proof(self, peer: DeviceId) -> Credentials:
        """Credentials for a hello: they show another member that this device is one, even if it has not heard of it.

        The chain of the other device too, and those of admins that were removed: it may have been removed by one of
        them, and learns here that it is a member.
        """
        mine = self.case_of(self.device)
        shown = Credentials(mine.grants, mine.removals)
        admins = {grant.device for grant in self.credentials.grants if grant.role is Role.ADMIN}
        for device in (peer, *sorted(self.membership.removed.keys() & admins)):
            case = self.case_of(device)
            more = sets.merge_credentials(shown, Credentials(case.grants, case.removals))
            if more.size() > HELLO_CREDENTIALS:
                break
            shown = more
        return shown

    def shown_to(self, device: DeviceId) -> Credentials:
        """What a device is told that was just let in: all, where that is few; else what it is a member by."""
        few = self.credentials.size() <= HELLO_CREDENTIALS
        return self.credentials if few else self.case_of(device)

    def case_of(self, device: DeviceId) -> Credentials:
        """What shows that a device is a member, or that it is one no more."""
        return sets.chain_for(self.volume, self.credentials, device)

    def subscribe(self, callback: Callable[[], None]) -> None:
        """Called after every change of what is known; be quick."""
        self._subscribers.append(callback)

    # ---- learning from others
    async def learn(self, offered: Credentials) -> bool:
        """Verifies and keeps what is new; True if anything was. Raises Refused if there is a false signature.

        What has no room is dropped without a word to whoever shows it: it may have known less than we do.
        """
        if sets.without(offered, self.credentials).size() == 0:
            return False
        async with self._learning:
            loop = asyncio.get_running_loop()
            if (pause := self._rested_at - loop.time()) > 0:
                await asyncio.sleep(pause)
            began = loop.time()
            try:
                return await self._learn(sets.without(offered, self.credentials))
            finally:
                took = loop.time() - began
                self._rested_at = loop.time() + min(PATIENCE * took, MOST_PATIENCE) if took > SHORT else 0.0

    async def _learn(self, fresh: Credentials) -> bool:
        known = self.credentials
        if known.size() + fresh.size() <= IN_A_THREAD:
            wanted = self._with_room(known, fresh)
        else:
            wanted = await asyncio.to_thread(self._with_room, known, fresh)
        self._blame(sets.without(fresh, wanted))
        await verify_all(self.volume, wanted)
        if wanted.size() == 0:
            return False
        known = self.credentials
        if known.size() + wanted.size() <= IN_A_THREAD:
            return self._keep(wanted)
        worked = await asyncio.to_thread(self._work_out, known, wanted, self._folded())
        if worked.base is not self.credentials:  # we issued something meanwhile
            return self._keep(wanted)
        return self._apply(worked)

    def _with_room(self, known: Credentials, fresh: Credentials) -> Credentials:
        """What of `fresh` would be kept. Nothing else needs to be verified."""
        kept = sets.relevant(self.volume, sets.merge_credentials(known, fresh))
        return sets.without(fresh, sets.without(fresh, kept))

    def _blame(self, dropped: Credentials) -> None:
        """Counts what had no room against its signer, as far as it is a member and did sign it."""
        authors: dict[DeviceId, list[Certificate]] = {}
        for certificate in dropped.certificates:
            if self.is_member(certificate.device):
                authors.setdefault(certificate.device, []).append(certificate)
        for device, made in list(authors.items())[:BLAMED_MOST]:
            if verify_certificate(self.volume, made[0]):
                self._store.lies.note(device, TOO_MANY_AUTHORS, "", len(made))
        issued: dict[bytes, list[Grant | Removed]] = {}
        statements: list[Grant | Removed] = [*dropped.grants, *dropped.removals]
        for statement in statements:
            if self.is_member(DeviceId(statement.issuer)):
                issued.setdefault(statement.issuer, []).append(statement)
        for issuer, signed in list(issued.items())[:BLAMED_MOST]:
            if _is_good(self.volume, signed[0]):
                self._store.lies.note(issuer, TOO_MANY_STATEMENTS, "", len(signed))

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
        return _Worked(known, merged, rules.membership_of(self.volume, merged, folded))

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
        self._issue(Credentials(grants=(issued,), removals=removals))

    def change_role(self, device: DeviceId, role: Role) -> None:
        """Of a device that is a member already."""
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
        self._issue(Credentials(removals=self._removals_of(device, undo)))

    def _undoing(self, device: DeviceId) -> Credentials:
        """What makes all others what they would be if that device had signed nothing. We stay what we are."""
        known, me = self.credentials, self.device
        grants = tuple(g for g in known.grants if g.issuer != device or g.device == me)
        removals = tuple(r for r in known.removals if r.issuer != device)
        before = rules.membership_of(self.volume, Credentials(grants, removals))
        now, names = self.membership.roles, self.membership.names | before.names
        ended: list[Removed] = []
        granted: list[Grant] = []
        for other in sorted((now.keys() | before.roles.keys()) - {me, device}):
            role, generation = before.roles.get(other), self._next(other)
            if role is None:
                ended += self._removals_of(other, undo=True)
            elif role != now.get(other):
                if other in now:
                    ended += self._removals(other, generation - 1, undo=False)
                name = names.get(other, "")[:MAX_NAME]
                granted.append(sign_grant(self._node_key, self.volume, other, role, generation, name))
        return Credentials(tuple(granted), tuple(ended))

    def recover(self, volume_key: SigningKey, name: str) -> None:
        """Makes this device an admin by the volume's own key, whoever else is one."""
        counting = rules.standing(self.volume, self.credentials).grants
        own = [g for g in counting if g.device == self.device and g.role is Role.ADMIN]
        if self.role is Role.ADMIN and any(grant.issuer == self.volume for grant in own):
            return
        generation = rules.free_generation(self.volume, self.credentials, self.device)
        issued = sign_grant(volume_key, self.volume, self.device, Role.ADMIN, generation, name[:MAX_NAME])
        self._issue(Credentials(grants=(issued,)))

    def _next(self, device: DeviceId) -> int:
        return rules.last_generation(self.volume, self.credentials, device) + 1

    def _issue(self, issued: Credentials) -> None:
        """Raises Refused, and changes nothing, if the others could not read it or have no room for it."""
        worked = self._work_out(self.credentials, issued, self._folded())
        check_readable(issued)
        lacking = sets.without(issued, worked.merged)
        if lacking.size() and not self._is_there(lacking):
            raise Refused(
                "This device has granted and removed as often as there is room for in this volume: do it on another"
                " admin's device. Nothing was changed."
            )
        self._apply(worked)

    def _is_there(self, issued: Credentials) -> bool:
        """The same was said before, with another signature."""
        merged = sets.merge_credentials(self.credentials, issued)
        return merged.size() == self.credentials.size()

    def _removals_of(self, device: DeviceId, undo: bool) -> tuple[Removed, ...]:
        return self._removals(device, rules.removal_generation(self._next(device) - 1), undo)

    def _removals(self, device: DeviceId, generation: int, undo: bool) -> tuple[Removed, ...]:
        """The removal of a device, and where it is an admin whose work stays, its own removals said again by us.

        A removal stops counting with the admin that signed it: whoever a lost admin had removed would be back.
        """
        counting = rules.standing(self.volume, self.credentials)
        kept = [] if undo else [sets.grant_digest(grant) for grant in counting.grants if grant.issuer == device]
        if len(kept) > KEPT_MOST:
            raise BadArgument(
                f"That device let in or changed {len(kept):,} devices, more than can be kept at once. Remove it with"
                " --undo: then they go with it. Nothing was changed."
            )
        key = self.volume_key or self._node_key
        said_again: tuple[Removed, ...] = ()
        if not undo:
            said_again = tuple(
                sign_removed(key, self.volume, r.device, r.generation, r.accepted, r.kept_grants)
                for r in counting.removals
                if r.issuer == device and r.device not in (device, self.device)
            )
        removal = sign_removed(key, self.volume, device, generation, self._accepted(device), kept)
        return (removal, *said_again)

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


async def verify_all(volume: VolumeId, credentials: Credentials) -> None:
    """Raises Refused if any signature is false."""
    if credentials.size() <= VERIFY_INLINE:
        good = _all_good(volume, credentials)
    else:
        good = await asyncio.to_thread(_all_good, volume, credentials)
    if not good:
        raise Refused("A device showed a credential with a false signature.")


def _all_good(volume: VolumeId, credentials: Credentials) -> bool:
    return (
        all(verify_grant(volume, grant) for grant in credentials.grants)
        and all(verify_removed(volume, removed) for removed in credentials.removals)
        and all(verify_certificate(volume, certificate) for certificate in credentials.certificates)
    )


def _is_good(volume: VolumeId, statement: Grant | Removed) -> bool:
    return verify_grant(volume, statement) if isinstance(statement, Grant) else verify_removed(volume, statement)
