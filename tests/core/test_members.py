# SPDX-License-Identifier: GPL-3.0-or-later
"""Membership, whatever the order in which credentials arrive."""

from __future__ import annotations

import random
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from holofsd.core.credentials import grant_digest, merge_credentials, proof_of, relevant
from holofsd.core.document import AuthorSeq, Certificate, Credentials, Grant, Membership, Removed, Role
from holofsd.core.ids import AuthorId, DeviceId, VolumeId
from holofsd.core.members import (
    author_may_write,
    head_counts,
    letting,
    removal_generation,
    resolve,
    standing,
    summed_up,
    weighty_grants,
)

VOLUME = VolumeId(b"V" * 32)


def device(letter: str) -> DeviceId:
    return DeviceId(letter.encode() * 32)


def author(letter: str) -> AuthorId:
    return AuthorId(letter.upper().encode() * 32)


def grant(who: str, role: Role, by: str, generation: int = 1) -> Grant:
    issuer = VOLUME if by == "V" else device(by)
    return Grant(device(who), role, generation, issuer, f"name of {who}", b"s" * 64)


def removal(who: str, by: str, generation: int = 1, accepted: int = 0, kept: tuple[Grant, ...] = ()) -> Removed:
    issuer = VOLUME if by == "V" else device(by)
    heads = (AuthorSeq(author(who), accepted, b"h" * 32),) if accepted else ()
    return Removed(device(who), generation, heads, tuple(map(grant_digest, kept)), issuer, b"s" * 64)


def certificate(who: str) -> Certificate:
    return Certificate(author(who), device(who), b"s" * 64, b"s" * 64)


def members(*statements: Grant | Removed | Certificate) -> Membership:
    return resolve(VOLUME, credentials(*statements))


def credentials(*statements: Grant | Removed | Certificate) -> Credentials:
    return Credentials(
        tuple(s for s in statements if isinstance(s, Grant)),
        tuple(s for s in statements if isinstance(s, Removed)),
        tuple(s for s in statements if isinstance(s, Certificate)),
    )


ADA = grant("a", Role.ADMIN, "V")
BEN = grant("b", Role.ADMIN, "a")
CYD = grant("c", Role.WRITER, "b")


def test_a_chain_of_grants_leads_back_to_the_volume_key() -> None:
    roles = members(CYD, BEN, ADA).roles
    assert roles == {device("a"): Role.ADMIN, device("b"): Role.ADMIN, device("c"): Role.WRITER}


def test_a_forged_chain_counts_for_nothing() -> None:
    forged = (grant("x", Role.ADMIN, "y"), grant("y", Role.ADMIN, "x"), grant("z", Role.WRITER, "x"))
    assert members(ADA, *forged, removal("a", "x")) == members(ADA)
    assert not members(*forged).roles


def test_a_writer_or_reader_can_neither_grant_nor_remove() -> None:
    found = members(ADA, BEN, CYD, grant("d", Role.READER, "c"), removal("b", "c"))
    assert device("d") not in found.roles
    assert device("b") in found.roles


def test_a_removal_beats_a_grant_of_the_same_generation_and_the_next_one_invites_again() -> None:
    assert device("c") not in members(ADA, BEN, CYD, removal("c", "a")).roles
    again = members(ADA, BEN, CYD, removal("c", "a"), grant("c", Role.READER, "a", 2))
    assert again.roles[device("c")] is Role.READER
    assert again.generations[device("c")] == 2


def test_what_a_removed_admin_granted_goes_unless_the_removal_keeps_it() -> None:
    assert members(ADA, BEN, CYD, removal("b", "a")).roles == {device("a"): Role.ADMIN}
    kept = members(ADA, BEN, CYD, removal("b", "a", kept=(CYD,)))
    assert kept.roles == {device("a"): Role.ADMIN, device("c"): Role.WRITER}


def test_a_removed_admin_cannot_come_back_by_its_own_grants_or_those_of_its_friends() -> None:
    tricks = (grant("b", Role.ADMIN, "b", 2), grant("x", Role.ADMIN, "b"), grant("b", Role.ADMIN, "x", 3))
    assert members(ADA, BEN, *tricks, removal("b", "a", generation=1)).roles == {device("a"): Role.ADMIN}


def test_an_admin_cannot_escape_by_removing_whoever_removes_it() -> None:
    found = members(ADA, BEN, removal("b", "a"), removal("a", "b", generation=99))
    assert found.roles == {device("a"): Role.ADMIN}


def test_a_junior_admin_can_remove_a_lost_senior_device_and_the_volume_key_settles_a_quarrel() -> None:
    assert device("a") not in members(ADA, BEN, removal("a", "b", kept=(BEN,))).roles
    quarrel = (ADA, BEN, removal("b", "a"), removal("a", "V", kept=(BEN,)))
    assert members(*quarrel).roles == {device("b"): Role.ADMIN}


def test_whoever_removes_the_admin_above_keeps_own_rights_only_if_the_removal_says_so() -> None:
    assert members(ADA, BEN, removal("a", "b")).roles == {}


def test_of_two_grants_of_one_generation_the_lower_role_holds() -> None:
    found = members(ADA, BEN, grant("c", Role.READER, "a"), CYD)
    assert found.roles[device("c")] is Role.READER


def test_records_of_a_removed_author_count_up_to_the_accepted_head() -> None:
    found = members(ADA, BEN, CYD, certificate("c"), removal("c", "a", accepted=7))
    assert author_may_write(found, author("c"), 7)
    assert not author_may_write(found, author("c"), 8)


def test_a_head_of_a_removed_author_counts_up_to_the_accepted_one_and_no_other_of_its_number() -> None:
    ada, ben = grant("a", Role.ADMIN, "V"), grant("b", Role.WRITER, "a")
    gone = removal("b", "a", accepted=5)
    last = b"h" * 32
    removed = members(ada, ben, gone, certificate("b"))
    assert head_counts(removed, author("b"), 4, b"x" * 32)
    assert head_counts(removed, author("b"), 5, last)
    assert not head_counts(removed, author("b"), 5, b"x" * 32)
    assert not head_counts(removed, author("b"), 6, last)
    assert not head_counts(removed, author("c"), 1, last)
    assert head_counts(members(ada, ben, certificate("b")), author("b"), 6, b"x" * 32)
    assert head_counts(members(ada, ben, gone, grant("b", Role.WRITER, "a", 2), certificate("b")), author("b"), 6, last)
    nothing = members(ada, ben, removal("b", "a"), certificate("b"))
    assert not head_counts(nothing, author("b"), 1, last)


@given(st.integers(1, 250), st.integers(0, 4))
def test_a_removal_for_good_beats_every_change_of_role_of_its_letting(generation: int, changes: int) -> None:
    ada = grant("a", Role.ADMIN, "V")
    known = grant("b", Role.WRITER, "a", generation)
    elsewhere = [grant("b", Role.ADMIN, "a", generation + n) for n in range(1, changes + 1) if generation + n <= 255]
    gone = removal("b", "a", removal_generation(generation))
    assert device("b") not in members(ada, known, *elsewhere, gone).roles
    again = grant("b", Role.READER, "a", gone.generation + 1)
    assert members(ada, known, *elsewhere, gone, again).roles[device("b")] == Role.READER
    assert (letting(generation), letting(gone.generation), letting(again.generation)) == (1, 1, 2)


def test_records_count_only_of_certified_authors_of_writers() -> None:
    reader = grant("d", Role.READER, "a")
    found = members(ADA, BEN, CYD, reader, certificate("c"), certificate("d"), certificate("x"))
    assert author_may_write(found, author("c"), 1)
    assert not author_may_write(found, author("d"), 1)
    assert not author_may_write(found, author("x"), 1)
    assert not author_may_write(found, author("a"), 1)


def test_a_removal_by_two_admins_accepts_what_either_had_merged() -> None:
    found = members(ADA, BEN, CYD, certificate("c"), removal("c", "a", accepted=7), removal("c", "b", accepted=9))
    assert author_may_write(found, author("c"), 9)


def test_statements_that_differ_in_the_signature_only_are_one() -> None:
    twin = Grant(ADA.device, ADA.role, ADA.generation, ADA.issuer, ADA.device_name, b"t" * 64)
    assert len(merge_credentials(credentials(ADA), credentials(twin)).grants) == 1
    assert grant_digest(twin) == grant_digest(ADA)


def test_what_can_count_for_nothing_is_not_kept() -> None:
    stray = credentials(ADA, grant("x", Role.ADMIN, "y"), removal("a", "y"), certificate("x"), certificate("a"))
    assert relevant(VOLUME, stray) == credentials(ADA, certificate("a"))


LETTERS = st.sampled_from("abcdef")
ISSUERS = st.sampled_from("VVabcdef")
ROLES = st.sampled_from([Role.ADMIN, Role.ADMIN, Role.WRITER, Role.READER])
GRANTS = st.builds(grant, LETTERS, ROLES, ISSUERS, st.integers(1, 3))
KEPT = st.lists(GRANTS, max_size=2).map(tuple)
REMOVALS = st.builds(removal, LETTERS, ISSUERS, st.integers(1, 3), st.integers(0, 3), KEPT)
STATEMENTS = st.lists(GRANTS | GRANTS | REMOVALS | st.builds(certificate, LETTERS), min_size=4, max_size=14)


@settings(max_examples=60)
@given(STATEMENTS, st.integers(0, 2**32))
def test_membership_does_not_depend_on_order_duplication_or_grouping(
    statements: list[Grant | Removed | Certificate], seed: int
) -> None:
    expected = members(*statements)
    shuffle = random.Random(seed)
    mixed = statements + shuffle.sample(statements, k=len(statements) // 2)
    shuffle.shuffle(mixed)
    assert members(*mixed) == expected
    cut = shuffle.randrange(len(mixed) + 1)
    left, right = credentials(*mixed[:cut]), credentials(*mixed[cut:])
    assert merge_credentials(left, right) == merge_credentials(right, left)
    assert resolve(VOLUME, merge_credentials(left, right)) == expected


@settings(max_examples=60)
@given(STATEMENTS)
def test_what_is_left_out_as_irrelevant_makes_no_difference(statements: list[Grant | Removed | Certificate]) -> None:
    everything = credentials(*statements)
    assert resolve(VOLUME, relevant(VOLUME, everything)) == resolve(VOLUME, everything)


@settings(max_examples=60)
@given(STATEMENTS, LETTERS)
def test_a_chain_proves_the_same_role_as_the_whole_set(
    statements: list[Grant | Removed | Certificate], letter: str
) -> None:
    everything = credentials(*statements)
    chain = proof_of(VOLUME, everything, (), (device(letter),), 1000, 1 << 20)
    proved, whole = resolve(VOLUME, chain), resolve(VOLUME, everything)
    assert proved.roles.get(device(letter)) == whole.roles.get(device(letter))


@settings(max_examples=60)
@given(STATEMENTS)
def test_statements_of_strangers_change_nothing(statements: list[Grant | Removed | Certificate]) -> None:
    strangers = (grant("y", Role.ADMIN, "x"), grant("x", Role.ADMIN, "y"), *(removal(w, "x", 9) for w in "abcdef"))
    assert members(*statements, *strangers) == members(*statements)


# ---- generations go up by one
FAR = 2**62 - 1


def test_a_generation_that_follows_no_known_one_counts_for_nothing() -> None:
    base = (ADA, BEN, CYD)
    for generation in (3, 7, 254, 256, 511, 2**32, FAR):
        assert members(*base, removal("a", "b", generation)) == members(*base)
        assert members(*base, grant("c", Role.ADMIN, "b", generation)) == members(*base)
    for generation in (1, 2, 255):
        assert device("a") not in members(*base, removal("a", "b", generation, kept=(BEN,))).roles
    assert members(*base, grant("c", Role.ADMIN, "b", 2)).roles[device("c")] is Role.ADMIN


def test_a_letting_begins_only_when_the_one_before_has_ended() -> None:
    steps: list[Grant | Removed] = [ADA, BEN, CYD]
    for generation in range(255, 255 + 5 * 256, 256):
        steps += [removal("c", "a", generation), grant("c", Role.READER, "b", generation + 1)]
    whole = members(*steps)
    assert whole.generations[device("c")] == 5 * 256
    for missing in range(3, len(steps) - 1):
        found = members(*steps[:missing], *steps[missing + 1 :])
        assert found.generations[device("c")] < 5 * 256 - 1  # what follows the gap waits for it
    order = random.Random(1)
    for _ in range(20):
        order.shuffle(steps)
        assert members(*steps) == whole


def test_the_volume_key_is_bound_by_no_generation() -> None:
    for generation in (2, 300, FAR):
        back = members(ADA, BEN, removal("a", "b", 255, kept=(BEN,)), grant("a", Role.ADMIN, "V", generation))
        assert back.roles.get(device("a")) == (Role.ADMIN if generation > 255 else None)


def test_what_programs_of_before_signed_counts_as_it_did() -> None:
    """Statements of earlier programs: they took the generation after the highest one that counted, and for a removal
    the last of its letting."""
    steps: list[Grant | Removed] = [ADA, BEN]
    known = members(*steps).generations.get(device("c"), 0)
    for role in (Role.READER, Role.WRITER, Role.ADMIN, Role.READER, None, Role.WRITER, None, Role.ADMIN):
        if role is None:
            steps.append(removal("c", "b", removal_generation(known)))
        else:
            if role is Role.READER and known:
                steps.append(removal("c", "a", known))
            steps.append(grant("c", role, "a", known + 1))
        now = members(*steps)
        assert now.roles.get(device("c")) is role
        assert now.generations[device("c")] > known
        known = now.generations[device("c")]


def test_a_lowered_admin_of_a_removed_one_stays_lowered_where_the_removal_is_said_again() -> None:
    """Removal as `sync.members` signs it when an admin is removed: without the second removal the old grant would
    count."""
    dee = grant("d", Role.ADMIN, "a")
    lowered = (removal("d", "b", 1), grant("d", Role.READER, "b", 2))
    guest = grant("e", Role.WRITER, "d")
    gone = removal("b", "a", 255, kept=(lowered[1],))
    assert device("e") in members(ADA, BEN, dee, *lowered, gone, guest).roles
    assert device("e") not in members(ADA, BEN, dee, *lowered, gone, removal("d", "a", 1), guest).roles


@settings(max_examples=300)
@given(STATEMENTS, STATEMENTS)
def test_what_is_vouched_for_when_an_admin_goes_has_the_effect_of_all_that_it_signed(
    before: list[Grant | Removed | Certificate], after: list[Grant | Removed | Certificate]
) -> None:
    """The effect is the same whatever is learned later."""
    known = relevant(VOLUME, credentials(ADA, BEN, *before))
    counting = standing(VOLUME, known)
    granted = [g for g in counting.grants if g.issuer == device("b")]
    ended = [r for r in counting.removals if r.issuer == device("b") and r.device != device("b")]
    everything = (*known.grants, *known.removals, *known.certificates, *after)
    gone = removal("b", "V", 255)

    def left(kept: list[Grant], again: list[Removed]) -> Membership:
        said = [replace(one, issuer=VOLUME) for one in again]
        return members(*everything, replace(gone, kept_grants=tuple(map(grant_digest, kept))), *said)

    brief, whole = left(weighty_grants(granted), summed_up(ended)), left(granted, ended)
    assert (brief.roles, brief.names, brief.authors) == (whole.roles, whole.names, whole.authors)
    assert brief.generations == whole.generations
