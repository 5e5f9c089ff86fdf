# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is a member: what a set of credentials adds up to, whatever the order in which it arrived.

Signatures were verified before (`codec.signing`); here it is decided which of the signed statements count.

- The volume key may grant and remove always. A device may while one of its admin grants counts.
- A removal of a device ends its grants up to the removal's generation, and the grants that the device issued, but for
  those that a counting removal of it keeps. A device invited again (next generation) as admin may issue again.
- Of several counting grants of one device the highest generation holds; of two with the same generation the lower role,
  for no right may come from a race. An admin's role is lowered by a removal that keeps its grants and a grant of the
  next generation: a mere grant of a lower role leaves the admin grant counting, and with it what the device issues.
- Generations come in lettings of 256, one for each time a device was let in. A change of role takes the next generation
  of its letting, a removal the last one: so it beats a change of role made at the same time elsewhere, and only letting
  the device in again, knowing of the removal, begins another one.
- Admins may remove each other at the same time. Removals are therefore taken in order of seniority: the volume key's,
  then those of admins nearest to it in the chain of grants (then by key); each counts if its issuer is still an admin
  by those before. So nobody escapes by removing whoever removes them, unless they are senior; and against a stolen
  senior device there is the volume key.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from blake3 import blake3

from holofsd.core.document import AuthorSeq, Certificate, Credentials, Grant, Membership, Removed, Role
from holofsd.core.ids import AuthorId, DeviceId, VolumeId
from holofsd.core.message import length_prefixed, number

WRITERS = frozenset((Role.WRITER, Role.ADMIN))
LETTING = 256
"""Generations for each time that a device is let in."""


def removal_generation(generation: int) -> int:
    """Of a removal for good: the last of the letting that `generation` belongs to."""
    return generation | (LETTING - 1)


def letting(generation: int) -> int:
    """How often the device was let in, counted from one."""
    return 1 + generation // LETTING


# ---- what is signed ----
def _grant_fields(grant: Grant) -> tuple[bytes, ...]:
    name = grant.device_name.encode("utf-8", "surrogatepass")
    return (grant.device, number(int(grant.role)), number(grant.generation), grant.issuer, name)


def grant_message(volume: VolumeId, grant: Grant) -> bytes:
    return length_prefixed(b"holofs-grant-1", volume, *_grant_fields(grant))


def grant_digest(grant: Grant) -> bytes:
    """Names the grant in `kept_grants`; the signature is not part of it."""
    return blake3(length_prefixed(b"holofs-grant-digest-1", *_grant_fields(grant))).digest()


def _removed_fields(removed: Removed) -> tuple[bytes, ...]:
    accepted = length_prefixed(b"", *(f for a in removed.accepted for f in (a.author, number(a.seq), a.set_hash)))
    kept = length_prefixed(b"", *removed.kept_grants)
    return (removed.device, number(removed.generation), accepted, kept, removed.issuer)


def removed_message(volume: VolumeId, removed: Removed) -> bytes:
    return length_prefixed(b"holofs-removed-1", volume, *_removed_fields(removed))


# ---- resolve ----
@dataclass(slots=True)
class _Verdict:
    """What holds by the removals taken so far."""

    generation: dict[DeviceId, int] = field(default_factory=dict)
    kept: dict[DeviceId, set[bytes]] = field(default_factory=dict)
    removals: list[Removed] = field(default_factory=list)

    def take(self, removed: Removed) -> None:
        self.removals.append(removed)
        self.generation[removed.device] = max(self.generation.get(removed.device, 0), removed.generation)
        self.kept.setdefault(removed.device, set()).update(removed.kept_grants)


def resolve(volume: VolumeId, credentials: Credentials) -> Membership:
    """Membership by the credentials that count. A chain that does not lead to the volume key counts for nothing."""
    ranks = _seniority(volume, credentials.grants)
    verdict = _Verdict()
    known = (r for r in credentials.removals if r.issuer in ranks)
    pending = sorted(known, key=lambda r: (ranks[r.issuer], r.issuer, _removed_fields(r)))
    counting = _counting_grants(volume, credentials.grants, verdict, ranks)
    while pending:
        admins = _admins(volume, counting)
        chosen = next((r for r in pending if r.issuer in admins), None)
        if chosen is None:
            break
        pending.remove(chosen)
        verdict.take(chosen)
        counting = _counting_grants(volume, credentials.grants, verdict, ranks)
    return _add_up(counting, verdict.removals, relevant(volume, credentials))


def _seniority(volume: VolumeId, grants: Iterable[Grant]) -> Mapping[bytes, int]:
    """Steps from the volume key of everybody who ever was an admin, removals left aside."""
    ranks: dict[bytes, int] = {volume: 0}
    by_issuer: dict[bytes, list[Grant]] = {}
    for grant in grants:
        if grant.role is Role.ADMIN:
            by_issuer.setdefault(grant.issuer, []).append(grant)
    edge: list[bytes] = [volume]
    while edge:
        following = sorted({bytes(g.device) for issuer in edge for g in by_issuer.get(issuer, ())} - ranks.keys())
        for device in following:
            ranks[device] = ranks[edge[0]] + 1
        edge = following
    return ranks


def _counting_grants(
    volume: VolumeId, grants: Iterable[Grant], verdict: _Verdict, ranks: Mapping[bytes, int]
) -> list[Grant]:
    """The grants that count by the removals taken so far: least fixed point from the volume key.

    A grant that a removal keeps counts although its issuer does not: whoever wrote the removal vouches for it.
    """
    by_issuer: dict[bytes, list[Grant]] = {}
    counting: list[Grant] = []
    for grant in grants:
        if grant.issuer not in ranks or grant.generation <= verdict.generation.get(grant.device, 0):
            continue
        kept = verdict.kept.get(DeviceId(grant.issuer))
        if kept and grant_digest(grant) in kept:
            counting.append(grant)
        else:
            by_issuer.setdefault(grant.issuer, []).append(grant)
    counting += by_issuer.pop(volume, ())
    for grant in counting:  # grows while it is walked
        if grant.role is Role.ADMIN:
            counting += by_issuer.pop(grant.device, ())
    return counting


def _admins(volume: VolumeId, counting: Iterable[Grant]) -> set[bytes]:
    return {volume} | {bytes(grant.device) for grant in counting if grant.role is Role.ADMIN}


def _add_up(counting: Iterable[Grant], removals: Iterable[Removed], credentials: Credentials) -> Membership:
    membership = Membership()
    best: dict[DeviceId, Grant] = {}
    for grant in counting:
        held = best.get(grant.device)
        if held is None or _preference(grant) > _preference(held):
            best[grant.device] = grant
    for device, grant in best.items():
        membership.roles[device] = grant.role
        membership.names[device] = grant.device_name
        membership.generations[device] = grant.generation
    for removal in removals:
        merged = _merge_removals(membership.removed.get(removal.device), removal)
        membership.removed[removal.device] = merged
        generation = max(merged.generation, membership.generations.get(removal.device, 0))
        membership.generations[removal.device] = generation
    for certificate in sorted(credentials.certificates, key=lambda c: (c.author, c.device)):
        if certificate.device in membership.generations:
            membership.authors.setdefault(certificate.author, certificate.device)
    _name_removed(membership, credentials.grants)
    return membership


def _preference(grant: Grant) -> tuple[int, int, bytes]:
    return (grant.generation, -int(grant.role), grant_digest(grant))


def _name_removed(membership: Membership, grants: Iterable[Grant]) -> None:
    """Removed devices keep the name of their last grant, for lists that people read."""
    for grant in sorted(grants, key=lambda g: (g.generation, g.device_name, g.issuer)):
        if grant.device in membership.removed and grant.device not in membership.roles:
            membership.names[grant.device] = grant.device_name


def _merge_removals(a: Removed | None, b: Removed) -> Removed:
    """The later generation; of one generation everything that either accepts, for nothing merged is un-merged."""
    if a is not None and a.generation > b.generation:
        return a
    both = (a, b) if a is not None and a.generation == b.generation else (b,)
    accepted: dict[AuthorId, AuthorSeq] = {}
    for item in sorted((i for r in both for i in r.accepted), key=lambda s: (s.author, s.seq, s.set_hash)):
        accepted[item.author] = item
    kept = tuple(sorted({digest for r in both for digest in r.kept_grants}))
    first = min(both, key=lambda r: (r.issuer, r.signature))
    return Removed(b.device, b.generation, tuple(accepted.values()), kept, first.issuer, first.signature)


# ---- questions ----
def author_may_write(membership: Membership, author: AuthorId, seq: int) -> bool:
    """Whether this author's record with that number counts."""
    device = membership.authors.get(author)
    if device is None:
        return False
    if membership.roles.get(device) in WRITERS:
        return True
    last = last_accepted(membership, author)
    return last is not None and seq <= last.seq


def last_accepted(membership: Membership, author: AuthorId) -> AuthorSeq | None:
    """The last head that counts of an author whose device may not write any more; None: none does."""
    removal = membership.removed.get(membership.authors.get(author, DeviceId(b"")))
    return None if removal is None else next((a for a in removal.accepted if a.author == author), None)


def head_counts(membership: Membership, author: AuthorId, seq: int, set_hash: bytes) -> bool:
    """Whether everything up to that head may be taken over.

    Of an author whose device may not write any more: the head that its removal names, and those on the way to it. Not
    one beyond, although some of its records count: the others have taken the place of records that do.
    """
    if not author_may_write(membership, author, seq):
        return False
    if membership.roles.get(membership.authors[author]) in WRITERS:
        return True
    last = last_accepted(membership, author)
    return last is not None and (seq < last.seq or set_hash == last.set_hash)


# ---- sets of credentials ----
def merge_credentials(a: Credentials, b: Credentials) -> Credentials:
    """The union, in a canonical order; statements that differ in the signature only count as one."""
    grants: dict[bytes, Grant] = {}
    for grant in sorted((*a.grants, *b.grants), key=lambda g: g.signature):
        grants.setdefault(grant_digest(grant), grant)
    removals: dict[tuple[bytes, ...], Removed] = {}
    for removal in sorted((*a.removals, *b.removals), key=lambda r: r.signature):
        removals.setdefault(_removed_fields(removal), removal)
    certificates: dict[tuple[bytes, bytes], Certificate] = {}
    for certificate in sorted(
        (*a.certificates, *b.certificates), key=lambda c: c.author_signature + c.device_signature
    ):
        certificates.setdefault((certificate.author, certificate.device), certificate)
    return Credentials(
        tuple(grants[digest] for digest in sorted(grants)),
        tuple(removals[fields] for fields in sorted(removals)),
        tuple(certificates[pair] for pair in sorted(certificates)),
    )


def relevant(volume: VolumeId, credentials: Credentials) -> Credentials:
    """Without what can count for nothing: what was never issued by an admin, certificates of strangers.

    What is kept and passed on is cut down to this, so that nobody can fill memory with statements of their own.
    """
    ranks = _seniority(volume, credentials.grants)
    grants = tuple(g for g in credentials.grants if g.issuer in ranks)
    removals = tuple(r for r in credentials.removals if r.issuer in ranks)
    known = {g.device for g in grants} | {r.device for r in removals}
    return Credentials(
        grants,
        removals,
        tuple(c for c in credentials.certificates if c.device in known),
    )


def chain_for(volume: VolumeId, credentials: Credentials, device: DeviceId) -> Credentials:
    """What proves a device's membership to somebody who knows the volume's id alone.

    Its grants, those of their issuers up to the volume key, and every removal that bears on one of them.
    """
    grants: list[Grant] = []
    removals: list[Removed] = []
    wanted: list[bytes] = [device]
    for who in wanted:  # grows while it is walked
        own_grants = [g for g in credentials.grants if g.device == who]
        own_removals = [r for r in credentials.removals if r.device == who]
        grants += own_grants
        removals += own_removals
        for issuer in sorted({g.issuer for g in own_grants} | {r.issuer for r in own_removals}):
            if issuer not in wanted and issuer != volume:
                wanted.append(issuer)
    certificates = tuple(c for c in credentials.certificates if c.device == device)
    return Credentials(tuple(grants), tuple(removals), certificates)
