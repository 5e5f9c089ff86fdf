# SPDX-License-Identifier: GPL-3.0-or-later
"""Sets of credentials: their union, the room that each issuer and device has in it, and what proves a membership. Pure.

Credentials are kept for ever, and every member keeps those of all. So that no member can fill that memory, or use up
the room of another one, the set that is kept is a function of the set that is known, the same on every device:

- Grants and removals have a room each, in bytes. The volume's key has all of it, uses at most a quarter itself and
  divides the rest evenly among the admins that it granted; each of them does the same. An admin's share depends on
  those above it in the chain of grants alone, so nothing that another member signs makes it smaller. A device that
  several admins made an admin has the greatest of those shares. A share below a 1024th counts for nothing.
- An issuer's statements fill its room in order of generation, then of digest, up to the one that does not fit whole.
  A set that is cut so may be cut again after any union, with the same result.
- Certificates are kept of devices that were made a writer or an admin at some time, at most `CERTIFICATES_KEPT` of
  each: first of authors whose records a removal accepts, then by author. They have a room of their own, shared alike;
  each admin's part of it serves the devices that it let in, one certificate of each before a second one of any.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from heapq import heappop, heappush
from typing import Final, TypeVar

from blake3 import blake3

from holofsd.core.document import WRITERS, Certificate, Credentials, Grant, Removed, Role
from holofsd.core.ids import DeviceId, VolumeId
from holofsd.core.message import length_prefixed, number

GRANT_ROOM: Final = 2 << 20
REMOVAL_ROOM: Final = 2 << 20
CERTIFICATE_ROOM: Final = 4 << 20
"""More than for grants: each device that was let in needs a certificate, and a few more as it is restored or copied."""
CERTIFICATES_KEPT: Final = 128
"""Of each device, folded authors included."""

_WHOLE: Final = 1 << 20
_LEAST: Final = _WHOLE // 1024
_OWN: Final = 4
"""One part of so many is an issuer's own; the others are for the admins that it made."""

T = TypeVar("T")


# ---- what is signed
def grant_fields(grant: Grant) -> tuple[bytes, ...]:
    name = grant.device_name.encode("utf-8", "surrogatepass")
    return (grant.device, number(int(grant.role)), number(grant.generation), grant.issuer, name)


def grant_message(volume: VolumeId, grant: Grant) -> bytes:
    return length_prefixed(b"holofs-grant-1", volume, *grant_fields(grant))


def grant_digest(grant: Grant) -> bytes:
    """Names the grant in `kept_grants`; the signature is not part of it."""
    return blake3(length_prefixed(b"holofs-grant-digest-1", *grant_fields(grant))).digest()


def removed_fields(removed: Removed) -> tuple[bytes, ...]:
    accepted = length_prefixed(b"", *(f for a in removed.accepted for f in (a.author, number(a.seq), a.set_hash)))
    kept = length_prefixed(b"", *removed.kept_grants)
    return (removed.device, number(removed.generation), accepted, kept, removed.issuer)


def removed_message(volume: VolumeId, removed: Removed) -> bytes:
    return length_prefixed(b"holofs-removed-1", volume, *removed_fields(removed))


# ---- sizes
def grant_bytes(grant: Grant) -> int:
    """Returns a size that the grant as a message has at least."""
    return 160 + len(grant.device_name.encode("utf-8", "surrogatepass"))


def removed_bytes(removed: Removed) -> int:
    return 160 + 84 * len(removed.accepted) + 34 * len(removed.kept_grants)


CERTIFICATE_BYTES: Final = 212


def pieces(credentials: Credentials, limit: int) -> Iterator[Credentials]:
    """The set as several of about `limit` bytes: grants, then removals, then certificates. Nothing of an empty set."""
    taken: tuple[list[Grant], list[Removed], list[Certificate]] = ([], [], [])
    used = 0
    every: list[tuple[int, list[object], object]] = []
    every += [(grant_bytes(grant), taken[0], grant) for grant in credentials.grants]  # type: ignore[misc]
    every += [(removed_bytes(removed), taken[1], removed) for removed in credentials.removals]  # type: ignore[misc]
    every += [(CERTIFICATE_BYTES, taken[2], certificate) for certificate in credentials.certificates]  # type: ignore[misc]
    for size, into, item in every:
        if used and used + size > limit:
            yield Credentials(tuple(taken[0]), tuple(taken[1]), tuple(taken[2]))
            for kind in taken:
                kind.clear()
            used = 0
        into.append(item)
        used += size
    if used:
        yield Credentials(tuple(taken[0]), tuple(taken[1]), tuple(taken[2]))


def issuers_first(volume: VolumeId, credentials: Credentials) -> Credentials:
    """The same set, each grant after one that made its issuer an admin. In any other order a device that is shown the
    set in pieces could not tell that the first ones come from an admin, and would drop them."""
    issued = _by_issuer(credentials.grants)
    ordered: list[Grant] = []
    reached: set[bytes] = {volume}
    edge: list[bytes] = [volume]
    for issuer in edge:  # grows while it is walked
        own = issued.pop(issuer, [])
        ordered += own
        admins = {bytes(grant.device) for grant in own if grant.role is Role.ADMIN} - reached
        reached |= admins
        edge += sorted(admins)
    ordered += (grant for rest in issued.values() for grant in rest)
    return Credentials(tuple(ordered), credentials.removals, credentials.certificates)


# ---- sets
def without(credentials: Credentials, known: Credentials) -> Credentials:
    """Returns the credentials that are not in `known`, in the same order."""
    grants, removals, certificates = set(known.grants), set(known.removals), set(known.certificates)
    return Credentials(
        tuple(g for g in credentials.grants if g not in grants),
        tuple(r for r in credentials.removals if r not in removals),
        tuple(c for c in credentials.certificates if c not in certificates),
    )


def merge_credentials(*sets: Credentials) -> Credentials:
    """The union, in a canonical order; statements that differ in the signature only count as one."""
    grants: dict[bytes, Grant] = {}
    for grant in sorted({g for s in sets for g in s.grants}, key=lambda g: g.signature):
        grants.setdefault(grant_digest(grant), grant)
    removals: dict[tuple[bytes, ...], Removed] = {}
    for removal in sorted({r for s in sets for r in s.removals}, key=lambda r: r.signature):
        removals.setdefault(removed_fields(removal), removal)
    certificates: dict[tuple[bytes, bytes], Certificate] = {}
    for certificate in sorted(
        {c for s in sets for c in s.certificates}, key=lambda c: c.author_signature + c.device_signature
    ):
        certificates.setdefault((certificate.author, certificate.device), certificate)
    return Credentials(
        tuple(grants[digest] for digest in sorted(grants)),
        tuple(removals[fields] for fields in sorted(removals)),
        tuple(certificates[pair] for pair in sorted(certificates)),
    )


def relevant(volume: VolumeId, credentials: Credentials) -> Credentials:
    """Returns the credentials to keep and to show to others: with room for them, by issuers that are or were admins."""
    grants, removals = _by_issuer(credentials.grants), _by_issuer(credentials.removals)
    kept_grants: list[Grant] = []
    kept_removals: list[Removed] = []
    let_in: list[tuple[int, set[DeviceId]]] = []
    shares: dict[bytes, int] = {}
    waiting: list[tuple[int, bytes]] = [(-_WHOLE, volume)]
    while waiting:
        negative, issuer = heappop(waiting)  # the greatest share that is left: no other path gives its device more
        if issuer in shares:
            continue
        share = shares[issuer] = -negative
        own = _fitting(grants.get(issuer, ()), _grant_order, grant_bytes, _part(share, GRANT_ROOM))
        kept_grants += own
        kept_removals += _fitting(removals.get(issuer, ()), _removal_order, removed_bytes, _part(share, REMOVAL_ROOM))
        let_in.append((_part(share, CERTIFICATE_ROOM), {g.device for g in own if g.role in WRITERS}))
        admins = {bytes(g.device) for g in own if g.role is Role.ADMIN} - {issuer}
        if admins and (each := share * (_OWN - 1) // _OWN // len(admins)) >= _LEAST:
            for device in admins - shares.keys():
                heappush(waiting, (-each, device))
    certificates = _certificates(credentials.certificates, kept_removals, let_in)
    return Credentials(
        tuple(sorted(kept_grants, key=grant_digest)), tuple(sorted(kept_removals, key=removed_fields)), certificates
    )


def _part(share: int, room: int) -> int:
    """An issuer's own bytes of a room, by its share."""
    return room * share // _WHOLE // _OWN


def _by_issuer(statements: Iterable[T]) -> dict[bytes, list[T]]:
    found: dict[bytes, list[T]] = {}
    for statement in statements:
        found.setdefault(statement.issuer, []).append(statement)  # type: ignore[attr-defined]
    return found


def _grant_order(grant: Grant) -> tuple[int, bytes]:
    return grant.generation, grant_digest(grant)


def _removal_order(removed: Removed) -> tuple[int, tuple[bytes, ...]]:
    return removed.generation, removed_fields(removed)


def _fitting(statements: Iterable[T], order: Callable[[T], object], size: Callable[[T], int], room: int) -> Sequence[T]:
    """The first ones, as long as those before leave room; none that is larger than the room.

    So the last one may hang over. Had it to fit whole, a small one after it would have its place on a device that does
    not know it, and not on one that does.
    """
    able = [statement for statement in statements if size(statement) <= room]
    if sum(map(size, able)) <= room:
        return able  # not sorted where all have room
    kept: list[T] = []
    for statement in sorted(able, key=order):  # type: ignore[arg-type]
        if room <= 0:
            break
        kept.append(statement)
        room -= size(statement)
    return kept


def _certificates(
    offered: Iterable[Certificate], removals: Iterable[Removed], let_in: Iterable[tuple[int, set[DeviceId]]]
) -> tuple[Certificate, ...]:
    writers = {device for _room, devices in let_in for device in devices}
    accepted = {(item.author, removed.device) for removed in removals for item in removed.accepted}
    of_device: dict[DeviceId, list[Certificate]] = {}
    for certificate in offered:
        if certificate.device in writers:
            of_device.setdefault(certificate.device, []).append(certificate)
    for device, found in of_device.items():
        found.sort(key=lambda c: ((c.author, c.device) not in accepted, c.author))
        of_device[device] = found[:CERTIFICATES_KEPT]
    kept: set[Certificate] = set()
    for room, devices in let_in:
        queues = [of_device[device] for device in sorted(devices & of_device.keys())]
        turn = 0
        while queues and room >= CERTIFICATE_BYTES:
            taken = [queue[turn] for queue in queues][: room // CERTIFICATE_BYTES]
            kept.update(taken)
            room -= len(taken) * CERTIFICATE_BYTES
            turn += 1
            queues = [queue for queue in queues if len(queue) > turn]
    return tuple(sorted(kept, key=lambda c: (c.author, c.device)))


def proof_of(
    volume: VolumeId,
    known: Credentials,
    counting: Collection[Grant | Removed],
    devices: Iterable[DeviceId],
    most: int,
    most_bytes: int,
) -> Credentials:
    """Grants and removals that show to somebody who knows the volume's id alone whether these devices are members.

    As far as there is room: those about the first device, about whoever issued them, and so on up to the volume's key;
    then the same for the next device.

    Of those about one device first what the key signed, then what counts (`counting`), by generation. They take half of
    what room is left at most: so an admin that signs very much about one device does not crowd out what proves the
    others.
    """
    about: dict[bytes, list[Grant | Removed]] = {}
    for statement in known.statements:
        about.setdefault(statement.device, []).append(statement)
    shown: list[Grant | Removed] = []
    seen: set[bytes] = {volume}
    for device in devices:
        if most <= 0:
            break
        line: list[bytes] = [] if device in seen else [device]
        seen.add(device)
        for who in line:  # grows while it is walked
            found = about.get(who, [])
            found.sort(key=lambda one: (one.issuer != volume, one not in counting, one.generation, _bytes(one)))
            places, room = (most + 1) // 2, most_bytes // 2
            for statement in found:
                if places and (size := _bytes(statement)) <= room:
                    places, room = places - 1, room - size
                    most, most_bytes = most - 1, most_bytes - size
                    shown.append(statement)
                if statement.issuer not in seen:
                    seen.add(statement.issuer)
                    line.append(statement.issuer)
    return Credentials(
        tuple(one for one in shown if isinstance(one, Grant)), tuple(one for one in shown if isinstance(one, Removed))
    )


def _bytes(statement: Grant | Removed) -> int:
    return grant_bytes(statement) if isinstance(statement, Grant) else removed_bytes(statement)
