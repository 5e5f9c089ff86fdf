# SPDX-License-Identifier: GPL-3.0-or-later
"""Room for what members sign: the same everywhere, and never at the cost of another one."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holofsd.core import credentials as sets
from holofsd.core import members as rules
from holofsd.core.credentials import (
    CERTIFICATE_BYTES,
    CERTIFICATES_KEPT,
    grant_bytes,
    issuers_first,
    merge_credentials,
    pieces,
    proof_of,
    relevant,
    removed_bytes,
)
from holofsd.core.document import AuthorSeq, Certificate, Credentials, Grant, Removed, Role
from holofsd.core.ids import AuthorId, DeviceId, VolumeId
from holofsd.core.members import CERTIFICATES_COUNTED, resolve

VOLUME = VolumeId(b"V" * 32)
FOUNDER, ROGUE, HONEST, PLAIN = (DeviceId(bytes([n]) * 32) for n in range(1, 5))


def device(number: int) -> DeviceId:
    return DeviceId(b"%032d" % number)


def author(number: int) -> AuthorId:
    return AuthorId(b"%032d" % number)


def grant(who: DeviceId, role: Role, by: bytes, generation: int = 1) -> Grant:
    return Grant(who, role, generation, by, "name", b"s" * 64)


def removal(who: DeviceId, by: bytes, generation: int = 255, accepted: tuple[AuthorId, ...] = ()) -> Removed:
    heads = tuple(AuthorSeq(author, 1, b"h" * 32) for author in accepted)
    return Removed(who, generation, heads, (), by, b"s" * 64)


def certificate(author: AuthorId, who: DeviceId) -> Certificate:
    return Certificate(author, who, b"s" * 64, b"s" * 64)


def credentials(*statements: Grant | Removed | Certificate) -> Credentials:
    return Credentials(
        tuple(s for s in statements if isinstance(s, Grant)),
        tuple(s for s in statements if isinstance(s, Removed)),
        tuple(s for s in statements if isinstance(s, Certificate)),
    )


BASE = (
    grant(FOUNDER, Role.ADMIN, VOLUME),
    grant(ROGUE, Role.ADMIN, FOUNDER),
    grant(HONEST, Role.ADMIN, FOUNDER),
    grant(PLAIN, Role.WRITER, HONEST),
)


# ---- certificates
def test_a_reader_has_no_certificates() -> None:
    reader = device(7)
    forged = [certificate(author(n), reader) for n in range(4090)]
    kept = relevant(VOLUME, credentials(*BASE, grant(reader, Role.READER, FOUNDER), *forged))
    assert kept.certificates == ()
    assert kept.size() == len(BASE) + 1


def test_a_reader_that_becomes_a_writer_has_and_a_writer_that_becomes_a_reader_keeps_them() -> None:
    who, said = device(7), author(1)
    reader, writer = grant(who, Role.READER, FOUNDER), grant(who, Role.WRITER, FOUNDER, 2)
    assert resolve(VOLUME, credentials(*BASE, reader, writer, certificate(said, who))).authors == {said: who}
    lowered = (removal(who, FOUNDER, 2, (said,)), grant(who, Role.READER, FOUNDER, 3))
    found = resolve(VOLUME, credentials(*BASE, reader, writer, *lowered, certificate(said, who)))
    assert found.roles[who] is Role.READER
    assert found.authors == {said: who}


def test_a_device_has_a_small_number_of_authors_and_leaves_the_others_theirs() -> None:
    writer = device(7)
    forged = [certificate(author(n), writer) for n in range(5000)]
    honest = [certificate(author(10_000 + n), PLAIN) for n in range(20)]
    known = credentials(*BASE, grant(writer, Role.WRITER, FOUNDER), *forged, *honest)
    assert sum(c.device == writer for c in relevant(VOLUME, known).certificates) == CERTIFICATES_KEPT
    found = resolve(VOLUME, known)
    assert sum(device == writer for device in found.authors.values()) == CERTIFICATES_COUNTED
    assert {a for a, device in found.authors.items() if device == PLAIN} == {c.author for c in honest}


def test_folding_frees_the_place_of_an_author() -> None:
    made = [author(n) for n in range(CERTIFICATES_COUNTED + 3)]
    known = credentials(*BASE, *(certificate(a, PLAIN) for a in made))
    found = resolve(VOLUME, known)
    assert found.authors.keys() == set(made[:-3])
    assert found.surplus.keys() == set(made[-3:])
    found = resolve(VOLUME, known, {made[0], made[5]})
    assert found.authors.keys() == set(made[:-1])
    assert found.surplus.keys() == set(made[-1:])


def test_authors_whose_records_a_removal_accepts_never_give_way_to_others() -> None:
    """A removed device cannot take back what it wrote by certifying more authors."""
    said = author(999_999)
    gone = removal(PLAIN, FOUNDER, accepted=(said,))
    later = [certificate(author(n), PLAIN) for n in range(1000)]
    found = resolve(VOLUME, credentials(*BASE, certificate(said, PLAIN), gone, *later))
    assert found.authors[said] == PLAIN


def test_devices_of_one_admin_do_not_take_each_others_certificates() -> None:
    rogues = [device(n) for n in range(100, 200)]
    flood = [certificate(author(n * 1000 + i), who) for n, who in enumerate(rogues) for i in range(CERTIFICATES_KEPT)]
    honest = [certificate(author(n), device(50)) for n in range(900_000, 900_004)]
    let_in = [grant(who, Role.WRITER, FOUNDER) for who in (*rogues, device(50))]
    kept = relevant(VOLUME, credentials(*BASE, *let_in, *flood, *honest))
    assert set(honest) <= set(kept.certificates)
    assert len(kept.certificates) * CERTIFICATE_BYTES <= sets.CERTIFICATE_ROOM


def test_every_device_that_an_admin_has_room_to_let_in_has_room_for_a_certificate() -> None:
    admins = [grant(device(n), Role.ADMIN, FOUNDER) for n in range(10)]
    let_in = [grant(device(1000 + n), Role.WRITER, device(0)) for n in range(1000)]
    made = [certificate(author(1000 + n), device(1000 + n)) for n in range(1000)]
    kept = relevant(VOLUME, credentials(grant(FOUNDER, Role.ADMIN, VOLUME), *admins, *let_in, *made))
    members = {g.device for g in kept.grants if g.issuer == device(0)}
    assert len(members) > 100
    assert {c.device for c in kept.certificates} == members


# ---- grants and removals
def test_an_admin_that_lets_in_ten_thousand_devices_leaves_the_others_their_room() -> None:
    flood = [grant(device(n), Role.WRITER, ROGUE) for n in range(10_000)]
    gone = [removal(device(n), ROGUE) for n in range(10_000)]
    kept = relevant(VOLUME, credentials(*flood, *gone, *BASE))
    assert set(BASE) <= set(kept.grants)
    assert sum(map(grant_bytes, kept.grants)) <= sets.GRANT_ROOM
    assert sum(map(removed_bytes, kept.removals)) <= sets.REMOVAL_ROOM
    assert sum(g.issuer == ROGUE for g in kept.grants) < 2000


def test_nobody_makes_the_room_of_another_branch_smaller() -> None:
    """Made-up admins below the rogue, in a circle, that also make the honest admin one: by a path of its own."""
    crowd = [device(n) for n in range(300)]
    flood = [grant(who, Role.ADMIN, ROGUE) for who in crowd]
    flood += [grant(crowd[n], Role.ADMIN, crowd[n - 1]) for n in range(300)]
    flood += [grant(HONEST, Role.ADMIN, who, 2) for who in (*crowd, ROGUE)]
    honest = [grant(device(1000 + n), Role.WRITER, HONEST) for n in range(400)]
    alone = relevant(VOLUME, credentials(*BASE, *honest))
    crowded = relevant(VOLUME, credentials(*flood, *BASE, *honest))
    assert set(alone.grants) <= set(crowded.grants)
    assert set(honest) <= set(alone.grants)


def test_a_long_chain_of_admins_counts_and_an_endless_one_ends() -> None:
    chain = [grant(device(0), Role.ADMIN, VOLUME)]
    chain += [grant(device(n + 1), Role.ADMIN, device(n)) for n in range(200)]
    members = len(resolve(VOLUME, credentials(*chain)).roles)
    assert 20 <= members <= 40


def test_a_small_statement_does_not_have_the_place_of_a_larger_one_that_is_not_known_any_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sets, "REMOVAL_ROOM", 1974)  # 370 bytes of it are the founder's own
    first, large = removal(PLAIN, FOUNDER, 1), removal(PLAIN, FOUNDER, 2, (author(1),))
    small = removal(PLAIN, FOUNDER, 3)
    whole = relevant(VOLUME, credentials(*BASE, first, large, small))
    early = relevant(VOLUME, credentials(*BASE, first, large))
    late = relevant(VOLUME, credentials(*BASE, first, small))
    assert relevant(VOLUME, merge_credentials(early, credentials(small))) == whole
    assert relevant(VOLUME, merge_credentials(late, credentials(large))) == whole


def test_a_statement_that_is_larger_than_the_room_is_not_kept() -> None:
    huge = removal(PLAIN, ROGUE, 1, tuple(author(n) for n in range(4096)))
    assert removed_bytes(huge) > 300_000
    assert relevant(VOLUME, credentials(*BASE, huge)).removals == ()


def test_in_pieces_each_grant_comes_after_what_makes_its_issuer_an_admin() -> None:
    admins = [grant(device(n), Role.ADMIN, FOUNDER) for n in range(4)]
    admins += [grant(device(10 + n), Role.ADMIN, device(n)) for n in range(4)]
    plain = [grant(device(100 * n + m), Role.WRITER, device(10 + n)) for n in range(4) for m in range(5, 15)]
    known = relevant(VOLUME, credentials(*BASE, *admins, *plain))
    assert known.size() == len(BASE) + len(admins) + len(plain)
    held = Credentials()
    for piece in pieces(issuers_first(VOLUME, known), 1024):
        held = relevant(VOLUME, merge_credentials(held, piece))
    assert held == known


# ---- what a hello shows
def test_what_an_admin_signs_about_others_does_not_crowd_out_what_proves_a_membership() -> None:
    flood = [grant(FOUNDER, Role.READER, ROGUE, n) for n in range(2, 700)]
    flood += [grant(HONEST, Role.READER, ROGUE, n) for n in range(2, 100)]
    large = removal(FOUNDER, ROGUE, 5000, tuple(author(n) for n in range(1600)))
    known = relevant(VOLUME, credentials(*BASE, *flood, large))
    assert known.size() == len(BASE) + len(flood) + 1
    gone = removal(ROGUE, FOUNDER)
    for more in ((), (gone,)):
        everything = merge_credentials(known, credentials(*more))
        standing = rules.standing(VOLUME, everything)
        shown = proof_of(VOLUME, everything, {*standing.grants, *standing.removals}, (PLAIN, ROGUE), 256, 96 * 1024)
        assert shown.size() <= 256
        assert sum(map(grant_bytes, shown.grants)) + sum(map(removed_bytes, shown.removals)) <= 96 * 1024
        assert resolve(VOLUME, shown).roles[PLAIN] is Role.WRITER


def test_where_all_have_room_a_hello_shows_all_that_bears_on_both() -> None:
    other = grant(device(8), Role.READER, ROGUE)
    known = credentials(*BASE, other, removal(PLAIN, FOUNDER), grant(PLAIN, Role.READER, FOUNDER, 256))
    shown = proof_of(VOLUME, known, (), (PLAIN, device(8)), 256, 96 * 1024)
    assert (set(shown.grants), set(shown.removals)) == (set(known.grants), set(known.removals))


STATEMENTS = st.one_of(
    st.builds(
        grant,
        st.sampled_from([FOUNDER, ROGUE, HONEST, PLAIN, device(8), device(9)]),
        st.sampled_from(Role),
        st.sampled_from([VOLUME, FOUNDER, ROGUE, HONEST, PLAIN, device(8)]),
        st.integers(1, 4),
    ),
    st.builds(
        removal,
        st.sampled_from([FOUNDER, ROGUE, HONEST, PLAIN, device(8)]),
        st.sampled_from([VOLUME, FOUNDER, ROGUE, HONEST]),
        st.sampled_from([1, 2, 255, 256]),
        st.lists(st.integers(0, 30).map(author), max_size=2).map(tuple),
    ),
    st.builds(certificate, st.integers(0, 30).map(author), st.sampled_from([ROGUE, HONEST, PLAIN, device(8)])),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(STATEMENTS, max_size=40), st.integers(0, 2**32), st.sampled_from([1 << 14, 1 << 15, 1 << 20]))
def test_what_is_kept_does_not_depend_on_the_order_of_arrival(
    statements: list[Grant | Removed | Certificate], seed: int, room: int
) -> None:
    """Learnt one by one, in any order, and then told to each other: both devices hold the same."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("GRANT_ROOM", "REMOVAL_ROOM", "CERTIFICATE_ROOM"):
            patch.setattr(sets, name, room)
        patch.setattr(sets, "CERTIFICATES_KEPT", 4)
        everything = [*BASE, *statements]
        mixed = random.Random(seed)
        held = []
        for _ in range(2):
            mixed.shuffle(everything)
            known = relevant(VOLUME, credentials(*BASE))
            for statement in everything:
                known = relevant(VOLUME, merge_credentials(known, credentials(statement)))
            held.append(known)
        first = relevant(VOLUME, merge_credentials(held[0], held[1]))
        second = relevant(VOLUME, merge_credentials(held[1], held[0]))
        assert first == second == relevant(VOLUME, first)
        for device in (FOUNDER, HONEST, ROGUE, PLAIN):
            assert resolve(VOLUME, first).roles.get(device) == resolve(VOLUME, second).roles.get(device)


def test_pieces_hold_everything_once_and_are_small() -> None:
    many = credentials(
        *BASE,
        *(grant(device(n), Role.WRITER, FOUNDER) for n in range(100)),
        *(removal(device(n), FOUNDER) for n in range(50)),
        *(certificate(author(n), PLAIN) for n in range(100)),
    )
    parts = list(pieces(many, 4096))
    assert all(part.size() <= 4096 // 160 for part in parts)
    assert merge_credentials(*parts) == merge_credentials(many)
    assert sum(part.size() for part in parts) == many.size()
    assert list(pieces(Credentials(), 4096)) == []


def test_a_chain_survives_a_circle() -> None:
    circle = (
        grant(HONEST, Role.ADMIN, ROGUE, 2),
        grant(ROGUE, Role.ADMIN, HONEST, 2),
        grant(FOUNDER, Role.ADMIN, ROGUE, 2),
    )
    known = credentials(*BASE, *circle)
    assert set(proof_of(VOLUME, known, (), (PLAIN,), 256, 1 << 20).grants) == set(known.grants)
