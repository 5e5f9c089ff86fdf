# SPDX-License-Identifier: GPL-3.0-or-later
"""Lies about members: certificates, grants and removals, as a member of any role may sign them."""

from __future__ import annotations

from collections.abc import Sequence

from holofs_peer.v1 import peer_pb2 as pb
from holofsd.codec import wire
from holofsd.codec.content import hash_bytes
from holofsd.codec.signing import SigningKey, make_certificate, sign_grant, sign_removed
from holofsd.core.credentials import grant_digest
from holofsd.core.document import AuthorSeq, Certificate, Credentials, Grant, Removed, Role
from holofsd.core.ids import DeviceId
from model.liar import NAME, Honest, Liar
from model.lies import lie
from model.lies_records import END
from model.looking import Numbers

MANY = 4000
GENERATIONS = (1, 2, 255, 256, 1 << 32, END - 1, END)


async def _show(
    liar: Liar,
    device: Honest,
    grants: Sequence[Grant] = (),
    removals: Sequence[Removed] = (),
    certificates: Sequence[Certificate] = (),
    keep: bool = True,
) -> None:
    offered = Credentials(tuple(grants), tuple(removals), tuple(certificates))
    if keep:
        liar.heard_credentials(offered)
    if (talk := await liar.talk(device)) is not None:
        await talk.say(pb.Frame(credentials=wire.to_credentials(offered)))


def _generation(liar: Liar, device: DeviceId, number: int) -> int:
    """The next one, or one that nobody gave so far."""
    known = [grant.generation for grant in liar.credentials.grants if grant.device == device]
    known += [removed.generation for removed in liar.credentials.removals if removed.device == device]
    following = max(known, default=0) + 1
    return (following, *GENERATIONS)[number % (1 + len(GENERATIONS))] if following < END else END


def _other(liar: Liar, number: int) -> DeviceId:
    return liar.devices[number % len(liar.devices)].id


@lie("member")
async def certificates_without_end(liar: Liar, device: Honest, n: Numbers) -> None:
    count = MANY if n[1] % 4 == 0 else 100 + n[1] % 400
    keys = (SigningKey(hash_bytes(b"author %d %d" % (n[1], i))) for i in range(count))
    made = [make_certificate(key, liar.key, liar.volume) for key in keys]
    await _show(liar, device, certificates=made, keep=False)


@lie("member")
async def certificates_apart(liar: Liar, device: Honest, n: Numbers) -> None:
    """Different ones to each device, so that together they are too many."""
    count = MANY // 2 + 100 if n[1] % 4 == 0 else 100
    for number, honest in enumerate(liar.devices):
        keys = (SigningKey(hash_bytes(b"apart %d %d %d" % (n[1], number, i))) for i in range(count))
        made = [make_certificate(key, liar.key, liar.volume) for key in keys]
        await _show(liar, honest, certificates=made, keep=False)


@lie("member")
async def certificates_of_strangers(liar: Liar, device: Honest, n: Numbers) -> None:
    """Well signed, of devices that no admin ever had to do with."""
    pairs = [(SigningKey(hash_bytes(b"sa %d" % i)), SigningKey(hash_bytes(b"sd %d" % i))) for i in range(60)]
    await _show(liar, device, certificates=[make_certificate(a, d, liar.volume) for a, d in pairs], keep=False)


@lie("member")
async def false_signatures(liar: Liar, device: Honest, n: Numbers) -> None:
    grant = Grant(liar.id, Role.ADMIN, 1 + n[1] % 600, liar.volume, NAME, bytes(64))
    await _show(liar, device, [grant], keep=False)


@lie("member")
async def grants_itself_a_role(liar: Liar, device: Honest, n: Numbers) -> None:
    """Grant itself a role, in whatever role it is, with whatever generation."""
    role = (Role.READER, Role.WRITER, Role.ADMIN)[n[0] % 3]
    grant = sign_grant(liar.key, liar.volume, liar.id, role, _generation(liar, liar.id, n[1]), NAME)
    await _show(liar, device, [grant])


@lie("member")
async def grants_others_a_role(liar: Liar, device: Honest, n: Numbers) -> None:
    other = _other(liar, n[0])
    role = (Role.READER, Role.WRITER, Role.ADMIN)[n[2] % 3]
    grant = sign_grant(liar.key, liar.volume, other, role, _generation(liar, other, n[1]), "renamed")
    await _show(liar, device, [grant])


@lie("member")
async def lets_accomplices_in(liar: Liar, device: Honest, n: Numbers) -> None:
    """Devices that do not exist, as admins, each letting in the next one."""
    grants, issuer = [], liar.key
    for number in range(5 + n[1] % 60):
        key = SigningKey(hash_bytes(b"accomplice %d" % number))
        grants.append(sign_grant(issuer, liar.volume, DeviceId(key.public), Role.ADMIN, 1, f"{NAME} {number}"))
        issuer = key if n[0] % 2 else liar.key
    await _show(liar, device, grants)


@lie("member")
async def grants_without_end(liar: Liar, device: Honest, n: Numbers) -> None:
    count = MANY if n[1] % 4 == 0 else 200
    grants = [
        sign_grant(liar.key, liar.volume, DeviceId(hash_bytes(b"g %d" % i)), Role.READER, 1, NAME) for i in range(count)
    ]
    await _show(liar, device, grants, keep=False)


@lie("member")
async def removes_others(liar: Liar, device: Honest, n: Numbers) -> None:
    """One device, or all of them, as of a generation that nobody can go beyond; what they wrote is to count no more."""
    victims = [_other(liar, n[0])] if n[0] % 3 else [honest.id for honest in liar.devices]
    removals = [sign_removed(liar.key, liar.volume, d, _generation(liar, d, n[1])) for d in victims]
    await _show(liar, device, removals=removals)


@lie("member")
async def removes_apart(liar: Liar, device: Honest, n: Numbers) -> None:
    """Each device is told of another removal."""
    for number, honest in enumerate(liar.devices):
        other = _other(liar, number + 1 + n[0])
        removed = sign_removed(liar.key, liar.volume, other, _generation(liar, other, n[1]))
        await _show(liar, honest, removals=[removed], keep=bool(n[2] % 2))


@lie("member")
async def lowers_others(liar: Liar, device: Honest, n: Numbers) -> None:
    """Readers all of them, with a grant and the removal that goes with it."""
    grants, removals = [], []
    for honest in liar.devices:
        generation = min(_generation(liar, honest.id, n[1]), END - 1)
        kept = [grant_digest(grant) for grant in liar.credentials.grants if grant.issuer == honest.id]
        removals.append(sign_removed(liar.key, liar.volume, honest.id, generation, (), kept if n[0] % 2 else ()))
        grants.append(sign_grant(liar.key, liar.volume, honest.id, Role.READER, generation + 1, honest.name))
    await _show(liar, device, grants, removals)


@lie("member")
async def removes_itself(liar: Liar, device: Honest, n: Numbers) -> None:
    """And accepts of its own authors what it never published."""
    accepted = [AuthorSeq(author, END, bytes(32)) for author in sorted(liar.authors)]
    generation = _generation(liar, liar.id, n[1])
    await _show(liar, device, removals=[sign_removed(liar.key, liar.volume, liar.id, generation, accepted)])


@lie("member")
async def removals_without_end(liar: Liar, device: Honest, n: Numbers) -> None:
    """Removals of devices that were never members, each with as much inside as fits."""
    count = MANY if n[1] % 6 == 0 else 60
    accepted = [AuthorSeq(liar.author.id, 1, bytes(32))] * (n[0] % 2)
    kept = [hash_bytes(b"kept %d" % i) for i in range(n[2] % 400 if count < MANY else 0)]
    removals = [
        sign_removed(liar.key, liar.volume, DeviceId(hash_bytes(b"r %d" % i)), 1, accepted, kept) for i in range(count)
    ]
    await _show(liar, device, removals=removals, keep=False)


@lie("member")
async def too_many_credentials(liar: Liar, device: Honest, n: Numbers) -> None:
    """More in one frame than any volume has; false ones, for that costs nothing."""
    junk = Certificate(liar.author.id, liar.id, bytes(64), bytes(64))
    if (talk := await liar.talk(device)) is not None:
        count = (4096, 5000, 10_000)[n[1] % 3]
        message = pb.Credentials(certificates=[wire.to_certificate(junk)] * count)
        await talk.say(pb.Frame(credentials=message))


@lie("member")
async def another_device_of_its_author(liar: Liar, device: Honest, n: Numbers) -> None:
    """One author certified for two devices: the liar's, and a stranger's whose key it has."""
    second = SigningKey(hash_bytes(b"second device"))
    certificate = make_certificate(liar.author.key, second, liar.volume)
    grant = sign_grant(liar.key, liar.volume, DeviceId(second.public), Role.WRITER, 1, "second")
    await _show(liar, device, [grant], certificates=[certificate])
