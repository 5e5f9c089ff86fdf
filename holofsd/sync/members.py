# SPDX-License-Identifier: GPL-3.0-or-later
"""Who belongs to a volume, as this device knows it: the stored credentials, and what they add up to.

Credentials are self-contained signed messages. They are verified here before they are stored, merged with what others
show, and resolved to a `Membership` by a pure function of `core.members`. Subscribers hear of every change.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog
from blake3 import blake3

from holofsd.codec import wire
from holofsd.codec.signing import (
    SigningKey,
    make_certificate,
    sign_grant,
    sign_removed,
    verify_certificate,
    verify_grant,
    verify_removed,
)
from holofsd.core import members as rules
from holofsd.core.document import AuthorSeq, Credentials, Head, Removed, Role
from holofsd.core.errors import DeviceUnknown, NotAMember, Refused, RoleTooLow
from holofsd.core.ids import AuthorId, DeviceId, VolumeId
from holofsd.core.text import device_name
from holofsd.store.volume import VolumeStore
from holofsd.sync.config import HELLO_CREDENTIALS, MAX_CREDENTIALS, MAX_NAME
from holofsd.sync.publication import summary
from holofsd.sync.scrutiny import chain_shown, verified

log = structlog.get_logger(__name__)

VERIFY_INLINE = 16
"""So many signatures are checked on the loop; more of them in a thread."""

LAST_ADMIN = "This is the last admin of the volume: make another device an admin first."


class Members:
    def __init__(self, store: VolumeStore, node_key: SigningKey) -> None:
        self._store = store
        self._node_key = node_key
        self.device = DeviceId(node_key.public)
        self.credentials = load_credentials(store)
        self.membership = rules.resolve(store.volume, self.credentials)
        self.called: Callable[[DeviceId], str] = lambda device: ""
        """What a device calls itself; empty where it has not said."""
        self._subscribers: list[Callable[[], None]] = []
        self.volume_key: SigningKey | None = None
        """Where this device keeps the recovery code: it signs removals then, so that no admin can undo them."""

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
            more = rules.merge_credentials(shown, Credentials(case.grants, case.removals))
            if more.size() > HELLO_CREDENTIALS:
                break
            shown = more
        return shown

    def case_of(self, device: DeviceId) -> Credentials:
        """What shows that a device is a member, or that it is one no more."""
        return rules.chain_for(self.volume, self.credentials, device)

    def subscribe(self, callback: Callable[[], None]) -> None:
        """Called after every change of what is known; be quick."""
        self._subscribers.append(callback)

    # ---- learning from others
    async def learn(self, offered: Credentials) -> bool:
        """Verifies and keeps what is new; True if anything was. Raises Refused if there is a false signature."""
        fresh = self._unknown(offered)
        if _size(fresh) == 0:
            return False
        await verify_all(self.volume, fresh)
        return self._keep(fresh)

    async def would_be_member(self, device: DeviceId, offered: Credentials) -> bool:
        """Is that device a member, given what it shows? Learns its chain then; keeps nothing of a stranger.

        Raises Refused. Call it within a budget (`scrutiny.Scrutiny`): anybody can make up what is shown.
        """
        fresh = chain_shown(self.volume, offered, device, self.credentials)
        if fresh.size():
            fresh = await verified(self.volume, fresh, self.credentials)
        if fresh.size():
            merged = rules.merge_credentials(self.credentials, fresh)
            if device in rules.resolve(self.volume, merged).roles:
                self._keep(fresh)
        return self.is_member(device)

    def _unknown(self, offered: Credentials) -> Credentials:
        if _size(offered) > MAX_CREDENTIALS:
            raise Refused("A device showed more credentials than any volume has.")
        mine = self.credentials
        return Credentials(
            tuple(set(offered.grants) - set(mine.grants)),
            tuple(set(offered.removals) - set(mine.removals)),
            tuple(set(offered.certificates) - set(mine.certificates)),
        )

    def _keep(self, fresh: Credentials) -> bool:
        """Stores what has to do with this volume; `fresh` was verified."""
        merged = rules.relevant(self.volume, rules.merge_credentials(self.credentials, fresh))
        if merged == self.credentials:
            return False
        if _size(merged) > MAX_CREDENTIALS:
            raise Refused("This volume has more credentials than this program accepts.")
        with self._store.db.transaction():
            store_credentials(self._store, merged)
        self.credentials = merged
        self.membership = rules.resolve(self.volume, merged)
        for callback in self._subscribers:
            callback()
        return True

    # ---- issuing
    def certify(self, author_key: SigningKey) -> None:
        """Certifies an author of ours. A reader's author never is: nobody would count its records."""
        if self.can_write and AuthorId(author_key.public) not in self.membership.authors:
            self._keep(Credentials(certificates=(make_certificate(author_key, self._node_key, self.volume),)))

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
        generation = self.membership.generations.get(device, 0) + 1
        removals = (self._removal(device, generation - 1),) if lowered else ()
        issued = sign_grant(self._node_key, self.volume, device, role, generation, name)
        self._keep(Credentials(grants=(issued,), removals=removals))

    def change_role(self, device: DeviceId, role: Role) -> None:
        """Of a device that is a member already."""
        self._require_admin()
        if not self.is_member(device):
            raise DeviceUnknown("No member of this volume has that name or key.")
        self.grant(device, role, self.name_of(device))

    def remove(self, device: DeviceId) -> None:
        self._require_admin()
        if not self.is_member(device):
            raise DeviceUnknown("No member of this volume has that name or key.")
        if self.is_last_admin(device):
            raise RoleTooLow(LAST_ADMIN)
        generation = rules.removal_generation(self.membership.generations.get(device, 1))
        self._keep(Credentials(removals=(self._removal(device, generation),)))

    def recover(self, volume_key: SigningKey, name: str) -> None:
        """Makes this device an admin by the volume's own key, whoever else is one."""
        if self.role == Role.ADMIN:
            return
        generation = self.membership.generations.get(self.device, 0) + 1
        issued = sign_grant(volume_key, self.volume, self.device, Role.ADMIN, generation, name)
        self._keep(Credentials(grants=(issued,)))

    def _removal(self, device: DeviceId, generation: int) -> Removed:
        heads = self._store.documents.folded() | self._store.documents.heads()
        accepted: list[AuthorSeq] = [
            summary(heads[author])
            for author, owner in sorted(self.membership.authors.items())
            if owner == device and author in heads
        ]
        kept = [rules.grant_digest(grant) for grant in self.credentials.grants if grant.issuer == device]
        return sign_removed(self.volume_key or self._node_key, self.volume, device, generation, accepted, kept)

    def _require_admin(self) -> None:
        if self.role is None:
            raise NotAMember("This device is not a member of the volume any more.")
        if self.role < Role.ADMIN:
            raise RoleTooLow("Only an admin of the volume can do this: ask the device that shared it with you.")

    def is_last_admin(self, device: DeviceId) -> bool:
        return [d for d, role in self.membership.roles.items() if role == Role.ADMIN] == [device]


def _size(credentials: Credentials) -> int:
    return len(credentials.grants) + len(credentials.removals) + len(credentials.certificates)


async def verify_all(volume: VolumeId, credentials: Credentials) -> None:
    """Raises Refused if any signature is false."""
    if _size(credentials) <= VERIFY_INLINE:
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


def load_credentials(store: VolumeStore) -> Credentials:
    merged = Credentials()
    for _kind, message in store.credentials():
        merged = rules.merge_credentials(merged, wire.decode_credentials(message))
    return merged


def store_credentials(store: VolumeStore, credentials: Credentials) -> None:
    """Inside a transaction. Each is stored as a `Credentials` message that holds it alone."""
    singles = [
        *(("grant", Credentials(grants=(grant,))) for grant in credentials.grants),
        *(("removal", Credentials(removals=(removed,))) for removed in credentials.removals),
        *(("certificate", Credentials(certificates=(certificate,))) for certificate in credentials.certificates),
    ]
    for kind, single in singles:
        message = wire.encode_credentials(single)
        store.add_credential(kind, blake3(message).digest(), message)
