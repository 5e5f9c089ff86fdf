# SPDX-License-Identifier: GPL-3.0-or-later
"""Membership by a set of credentials, whatever the order in which they arrived. Pure.

Signatures were verified before (`codec.signing`), and what no admin signed was left out (`core.credentials`); here it
is decided which of the signed statements count.

- The volume key may grant and remove always. A device may while one of its admin grants counts.
- A removal of a device ends its grants up to the removal's generation, and the grants that the device issued, but for
  those that a counting removal of it keeps. A device invited again (next generation) as admin may issue again.
- Of several counting grants of one device the highest generation holds; of two with the same generation the lower role,
  for no right may come from a race. An admin's role is lowered by a removal that keeps its grants and a grant of the
  next generation: a mere grant of a lower role leaves the admin grant counting, and with it what the device issues.
- Generations come in lettings of 256, one for each time a device was let in. A change of role takes the next generation
  of its letting, a removal the last one: so it beats a change of role made at the same time elsewhere, and only letting
  the device in again, knowing of the removal, begins another one.
- Generations go up by one. A statement counts only if the one before it about the same device is known, whether or not
  that one counts: a grant's generation follows a known one; a removal's follows a known one, is a known one, or ends
  the letting of a known one. So no admin can take a generation that leaves none to others. The volume key is not bound
  by it.
- Admins may remove each other at the same time. Removals are therefore taken in order of seniority: the volume key's,
  then those of admins nearest to it in the chain of grants (then by key); an admin's count if it is still an admin
  by those before. So nobody escapes by removing whoever removes them, unless they are senior; and against a stolen
  senior device there is the volume key.
- Of each device at most `CERTIFICATES_COUNTED` authors that are not folded count, besides those whose records a removal
  accepts. Folding frees their place.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from holofsd.core.credentials import grant_digest, relevant
from holofsd.core.document import WRITERS, AuthorSeq, Certificate, Credentials, Grant, Membership, Removed, Role
from holofsd.core.ids import AuthorId, DeviceId, VolumeId

LETTING: Final = 256
"""Generations for each time that a device is let in."""
CERTIFICATES_COUNTED: Final = 32
"""Authors of one device that count, folded ones aside. A device takes a new one when it was copied or restored."""


def removal_generation(generation: int) -> int:
    """Returns the generation of a removal for good: the last of the letting that `generation` belongs to."""
    return generation | (LETTING - 1)


def letting(generation: int) -> int:
    """Returns the number of times that the device was let in."""
    return 1 + generation // LETTING


# ---- which statements count
@dataclass(frozen=True, slots=True)
class Standing:
    """The grants and removals that count, of a set of credentials."""

    grants: tuple[Grant, ...]
    removals: tuple[Removed, ...]


class _TakenRemovals:
    """Grants that are ended or kept by the removals taken so far."""

    def __init__(self, grants: Iterable[Grant]) -> None:
        self._issued: dict[bytes, list[Grant]] = {}
        for grant in grants:
            self._issued.setdefault(grant.issuer, []).append(grant)
        self._digests: dict[bytes, dict[bytes, Grant]] = {}
        self._generation: dict[DeviceId, int] = {}
        self.kept: dict[Grant, None] = {}
        """Grants that count although their issuer may not: whoever wrote the removal vouches for them."""
        self.removals: list[Removed] = []

    def take(self, removed: Removed) -> None:
        self.removals.append(removed)
        self._generation[removed.device] = max(self._generation.get(removed.device, 0), removed.generation)
        if removed.kept_grants:
            issued = self._digests_of(removed.device)
            self.kept.update((issued[digest], None) for digest in removed.kept_grants if digest in issued)

    def _digests_of(self, issuer: bytes) -> dict[bytes, Grant]:
        if issuer not in self._digests:
            self._digests[issuer] = {grant_digest(grant): grant for grant in self._issued.get(issuer, ())}
        return self._digests[issuer]

    def ends(self, grant: Grant) -> bool:
        return grant.generation <= self._generation.get(grant.device, 0)


def resolve(volume: VolumeId, credentials: Credentials, folded: Collection[AuthorId] = ()) -> Membership:
    """Membership by the credentials that count. A chain that does not lead to the volume key counts for nothing."""
    return membership_of(volume, relevant(volume, credentials), folded)


def membership_of(volume: VolumeId, kept: Credentials, folded: Collection[AuthorId] = ()) -> Membership:
    """The same of a set that is `relevant` already."""
    return _add_up(standing(volume, kept), kept, folded)


def without_word_of(volume: VolumeId, kept: Credentials, device: DeviceId, admin: DeviceId) -> Membership:
    """Returns the membership as if nothing counted that `device` signed, and `admin` were one by the volume's key."""
    root = Grant(admin, Role.ADMIN, last_generation(volume, kept, admin) + 1, volume, "", b"")
    rooted = Credentials((*kept.grants, root), kept.removals, kept.certificates)
    return _add_up(standing(volume, rooted, silent=device), rooted, ())


def standing(volume: VolumeId, kept: Credentials, silent: bytes = b"") -> Standing:
    """Returns the grants and removals that count, of a set that is `relevant` already. None by the issuer `silent`
    does, though all that it signed is known."""
    grants, removals = _in_sequence(volume, kept)
    if silent:
        grants = [grant for grant in grants if grant.issuer != silent]
        removals = [removal for removal in removals if removal.issuer != silent]
    by_issuer: dict[bytes, list[Grant]] = {}
    for grant in grants:
        if grant.role is Role.ADMIN:
            by_issuer.setdefault(grant.issuer, []).append(grant)
    ranks = _seniority(volume, by_issuer)
    issued: dict[bytes, list[Removed]] = {}
    for removal in removals:
        if removal.issuer in ranks:
            issued.setdefault(removal.issuer, []).append(removal)
    verdict = _TakenRemovals(grant for grant in grants if grant.issuer in ranks)
    admins = _admins(volume, by_issuer, verdict)
    order = sorted(issued, key=lambda issuer: (ranks[issuer], issuer))
    at = 0
    while at < len(order):
        issuer = order[at]
        if issuer not in admins or issuer not in issued:
            at += 1
            continue
        # Only what is about an admin, or keeps what one issued, can make anybody an admin or stop it.
        changes = False
        for removal in issued.pop(issuer):
            verdict.take(removal)
            changes = changes or removal.device in admins or removal.device in by_issuer
        before = admins
        if changes:
            admins = _admins(volume, by_issuer, verdict)
        at = 0 if admins - before else at + 1
    counting = (
        g for g in grants if g.issuer in ranks and not verdict.ends(g) and (g.issuer in admins or g in verdict.kept)
    )
    return Standing(tuple(counting), tuple(verdict.removals))


def _in_sequence(volume: VolumeId, kept: Credentials) -> tuple[list[Grant], list[Removed]]:
    """The statements whose generation follows a known one."""
    grants: list[Grant] = []
    removals: list[Removed] = []
    known: dict[DeviceId, set[int]] = {}
    last: dict[DeviceId, set[int]] = {}
    # Of one generation a grant comes first: a removal of the same one ends it.
    for statement in sorted(kept.statements, key=_sequence):
        generations = known.setdefault(statement.device, {0})
        endings = last.setdefault(statement.device, {removal_generation(0)})
        follows = statement.generation - 1 in generations or statement.issuer == volume
        if isinstance(statement, Grant):
            if not follows:
                continue
            grants.append(statement)
        else:
            if not (follows or statement.generation in generations or statement.generation in endings):
                continue
            removals.append(statement)
        generations.add(statement.generation)
        endings.add(removal_generation(statement.generation))
    return grants, removals


def last_generation(volume: VolumeId, kept: Credentials, device: DeviceId) -> int:
    """The highest known of a device, whether or not it counts: a later removal may make it count. 0: none is."""
    about = Credentials(
        tuple(grant for grant in kept.grants if grant.device == device),
        tuple(removed for removed in kept.removals if removed.device == device),
    )
    grants, removals = _in_sequence(volume, about)
    return max([0, *(grant.generation for grant in grants), *(removed.generation for removed in removals)])


def free_generation(volume: VolumeId, kept: Credentials, device: DeviceId) -> int:
    """One for a grant by the volume key that no known statement follows, so that none begins to count by it."""
    generation = last_generation(volume, kept, device) + 1
    about = [s for s in kept.statements if s.device == device and s.generation >= generation]
    for statement in sorted(about, key=_sequence):
        followed = (generation, generation + 1, removal_generation(generation))
        if statement.generation in followed:
            generation = statement.generation + 1
    return generation


# ---- vouching for what a removed admin signed
def weighty_grants(grants: Iterable[Grant]) -> list[Grant]:
    """The grants without which membership would be another one: of each device the one that holds, and the last that
    makes it an admin."""
    holding: dict[DeviceId, Grant] = {}
    ruling: dict[DeviceId, Grant] = {}
    for grant in sorted(grants, key=_sequence):
        held = holding.get(grant.device)
        if held is None or _is_preferred(grant, held):
            holding[grant.device] = grant
        if grant.role is Role.ADMIN:
            ruling[grant.device] = grant
    return list(dict.fromkeys((*holding.values(), *ruling.values())))


def summed_up(removals: Iterable[Removed]) -> list[Removed]:
    """One removal of each device in the place of several, with the same effect; to be signed again."""
    found: dict[DeviceId, Removed] = {}
    for removal in removals:
        held = found.get(removal.device)
        kept = {*removal.kept_grants, *(held.kept_grants if held is not None else ())}
        merged = _merge_removals(held, removal)
        found[removal.device] = replace(merged, kept_grants=tuple(sorted(kept)))
    return list(found.values())


def _sequence(statement: Grant | Removed) -> tuple[int, bool]:
    return statement.generation, isinstance(statement, Removed)


def _seniority(volume: VolumeId, by_issuer: Mapping[bytes, Iterable[Grant]]) -> Mapping[bytes, int]:
    """Steps from the volume key of everybody who ever was an admin, removals left aside."""
    ranks: dict[bytes, int] = {volume: 0}
    edge: list[bytes] = [volume]
    while edge:
        following = sorted({bytes(g.device) for issuer in edge for g in by_issuer.get(issuer, ())} - ranks.keys())
        for device in following:
            ranks[device] = ranks[edge[0]] + 1
        edge = following
    return ranks


def _admins(volume: VolumeId, by_issuer: Mapping[bytes, Iterable[Grant]], verdict: _TakenRemovals) -> set[bytes]:
    """Returns who may issue by the removals taken so far: least fixed point from the volume key and kept grants."""
    kept = (grant for grant in verdict.kept if grant.role is Role.ADMIN and not verdict.ends(grant))
    edge = [volume, *{bytes(grant.device) for grant in kept}]
    found: set[bytes] = set(edge)
    for issuer in edge:  # grows while it is walked
        for grant in by_issuer.get(issuer, ()):
            if grant.device not in found and not verdict.ends(grant):
                found.add(grant.device)
                edge.append(grant.device)
    return found


# ---- what they add up to
def _add_up(counting: Standing, kept: Credentials, folded: Collection[AuthorId]) -> Membership:
    membership = Membership()
    best: dict[DeviceId, Grant] = {}
    for grant in counting.grants:
        held = best.get(grant.device)
        if held is None or _is_preferred(grant, held):
            best[grant.device] = grant
    for device, grant in best.items():
        membership.roles[device] = grant.role
        membership.names[device] = grant.device_name
        membership.generations[device] = grant.generation
    for removal in counting.removals:
        merged = _merge_removals(membership.removed.get(removal.device), removal)
        membership.removed[removal.device] = merged
        generation = max(merged.generation, membership.generations.get(removal.device, 0))
        membership.generations[removal.device] = generation
    _certify(membership, kept.certificates, folded)
    _name_removed(membership, kept.grants)
    return membership


def _is_preferred(grant: Grant, held: Grant) -> bool:
    a, b = (grant.generation, -int(grant.role)), (held.generation, -int(held.role))
    return a > b or (a == b and grant_digest(grant) > grant_digest(held))


def _certify(membership: Membership, certificates: Iterable[Certificate], folded: Collection[AuthorId]) -> None:
    """Certificates that count, and those that there were too many of."""
    accepted = {(item.author, device) for device, removed in membership.removed.items() for item in removed.accepted}
    left: dict[DeviceId, int] = {}
    for certificate in sorted(certificates, key=lambda c: (c.author, c.device)):
        author, device = certificate.author, certificate.device
        if device not in membership.generations or author in membership.authors:
            continue
        if author not in folded and (author, device) not in accepted:
            left[device] = left.get(device, CERTIFICATES_COUNTED) - 1
            if left[device] < 0:
                membership.surplus.setdefault(author, device)
                continue
        membership.authors[author] = device
        membership.surplus.pop(author, None)


def _name_removed(membership: Membership, grants: Iterable[Grant]) -> None:
    """Removed devices keep the name of their last grant, for lists that people read."""
    gone = membership.removed.keys() - membership.roles.keys()
    named = (grant for grant in grants if grant.device in gone)
    for grant in sorted(named, key=lambda g: (g.generation, g.device_name, g.issuer)):
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
