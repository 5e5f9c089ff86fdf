# SPDX-License-Identifier: GPL-3.0-or-later
"""Admins that quarrel, in every order, and the volume's own key: it always makes an admin, who can undo everything."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holofsd.codec.signing import SigningKey, sign_grant, sign_removed
from holofsd.core import credentials as sets
from holofsd.core.credentials import grant_digest, merge_credentials, relevant
from holofsd.core.document import Credentials, Grant, Membership, Removed, Role
from holofsd.core.errors import DeviceUnknown, HoloError, Refused, RoleTooLow
from holofsd.core.ids import DeviceId, VolumeId
from holofsd.core.members import resolve
from holofsd.store.volume import VolumeStore
from holofsd.sync import members
from holofsd.sync.members import Members
from holofsd.sync.stored_credentials import load_credentials

KEY = SigningKey(b"volume".ljust(32, b"."))
VOLUME = VolumeId(KEY.public)
KEYS = {name: SigningKey(name.encode().ljust(32, b".")) for name in "abcde"}
ID = {name: DeviceId(key.public) for name, key in KEYS.items()}


@dataclass
class Memory:
    """A volume's store, as much as `Members` needs."""

    volume: VolumeId = VOLUME
    rows: dict[tuple[str, bytes], bytes] = field(default_factory=dict)
    heard: list[DeviceId] = field(default_factory=list)
    """Devices that said what they hold."""

    @property
    def documents(self) -> SimpleNamespace:
        return SimpleNamespace(heads=dict, folded=dict, head=lambda author: None)

    @property
    def db(self) -> SimpleNamespace:
        def transaction() -> AbstractContextManager[None]:
            return nullcontext()

        return SimpleNamespace(transaction=transaction)

    @property
    def lies(self) -> SimpleNamespace:
        return SimpleNamespace(note=lambda *_: None)

    def marks(self) -> list[tuple[bytes, int, bytes]]:
        return [(device, 0, b"") for device in self.heard]

    def credentials(self) -> list[tuple[str, bytes]]:
        return [(kind, message) for (kind, _digest), message in self.rows.items()]

    def add_credential(self, kind: str, digest: bytes, message: bytes) -> None:
        self.rows[kind, digest] = message

    def remove_credential(self, kind: str, digest: bytes) -> None:
        self.rows.pop((kind, digest), None)


def device(name: str) -> Members:
    return Members(cast(VolumeStore, Memory()), KEYS[name])


def learn(who: Members, *others: Members | Credentials) -> None:
    for other in others:
        who._keep(other.credentials if isinstance(other, Members) else other)


def _beginning() -> Credentials:
    """a made the volume and let in b, an admin, and c, a writer; b let in d, a writer, and e, an admin."""
    a, b = device("a"), device("b")
    learn(a, Credentials(grants=(sign_grant(KEY, VOLUME, ID["a"], Role.ADMIN, 1, "a"),)))
    a.grant(ID["b"], Role.ADMIN, "b")
    a.grant(ID["c"], Role.WRITER, "c")
    learn(b, a)
    b.grant(ID["d"], Role.WRITER, "d")
    b.grant(ID["e"], Role.ADMIN, "e")
    return b.credentials


BEGINNING = _beginning()


def scene() -> dict[str, Members]:
    found = {name: device(name) for name in "abcde"}
    for who in found.values():
        learn(who, BEGINNING)
    return found


def meet(devices: dict[str, Members]) -> None:
    known = everything(devices)
    for who in devices.values():
        learn(who, known)


Step = Callable[[dict[str, Members]], None]

STEPS: dict[str, Step] = {
    "a removes b": lambda d: d["a"].remove(ID["b"]),
    "b removes a": lambda d: d["b"].remove(ID["a"]),
    "a lowers b": lambda d: d["a"].change_role(ID["b"], Role.READER),
    "b lowers a": lambda d: d["b"].change_role(ID["a"], Role.READER),
    "b removes c": lambda d: d["b"].remove(ID["c"]),
    "e removes a": lambda d: d["e"].remove(ID["a"]),
    "b lets a in": lambda d: d["b"].grant(ID["a"], Role.ADMIN, "a"),
    "a lets b in": lambda d: d["a"].grant(ID["b"], Role.ADMIN, "b"),
    "the key at a": lambda d: d["a"].recover(KEY, "a"),
    "the key at b": lambda d: d["b"].recover(KEY, "b"),
    "they meet": meet,
}


def run(steps: tuple[str, ...], each_heard: bool) -> dict[str, Members]:
    devices = scene()
    for step in steps:
        with suppress(HoloError):  # somebody who is no admin any more
            STEPS[step](devices)
        if each_heard:
            meet(devices)
    return devices


def everything(devices: dict[str, Members]) -> Credentials:
    return merge_credentials(*(who.credentials for who in devices.values()))


def same(a: Membership, b: Membership) -> bool:
    return (a.roles, a.generations, a.removed.keys()) == (b.roles, b.generations, b.removed.keys())


def one_by_one(known: Credentials, seed: int) -> Membership:
    statements: list[Grant | Removed] = [*known.grants, *known.removals]
    random.Random(seed).shuffle(statements)
    held = Credentials()
    for statement in statements:
        single = (
            Credentials(grants=(statement,)) if isinstance(statement, Grant) else Credentials(removals=(statement,))
        )
        held = relevant(VOLUME, merge_credentials(held, single))
        # What no admin is known to have signed waits with whoever shows it.
    return resolve(VOLUME, merge_credentials(held, known))


def programs() -> Iterator[tuple[str, ...]]:
    for length in (1, 2):
        yield from itertools.product(STEPS, repeat=length)
    yield from itertools.islice(itertools.product(STEPS, repeat=3), 0, None, 5)


@pytest.mark.parametrize("first", STEPS)
@pytest.mark.parametrize("each_heard", [False, True])
def test_after_every_quarrel_all_agree_and_the_key_settles_it(first: str, each_heard: bool) -> None:
    for steps in programs():
        if steps[0] == first:
            devices = run(steps, each_heard)
            known = everything(devices)
            meet(devices)
            for name, who in devices.items():
                assert same(who.membership, resolve(VOLUME, known)), (steps, name)
            assert same(one_by_one(known, len(steps)), resolve(VOLUME, known)), steps
            settle(devices, steps)


def settle(devices: dict[str, Members], told: Sequence[object]) -> None:
    """Settle with the recovery code: a is an admin, takes the others' rights, and everything they did is undone."""
    a, is_vouched_for = (
        devices["a"],
        bool({"a removes b", "a lowers b"} & {step for step in told if isinstance(step, str)}),
    )
    a.recover(KEY, "a")
    assert a.role is Role.ADMIN, told
    a.volume_key = KEY
    for name in ("b", "e", "b", "e"):  # what one undoes may bring back the other
        with suppress(DeviceUnknown):  # it may have gone with whoever let it in
            a.remove(ID[name], undo=True)
    meet(devices)
    for name, who in devices.items():
        roles = dict(who.membership.roles)
        assert roles.pop(ID["a"]) is Role.ADMIN, (told, name)
        # Unless a vouched for what b did before it knew better, c is what a made it.
        assert roles == {ID["c"]: Role.WRITER} or (is_vouched_for and roles == {}), (told, name)
    for name in "bc":
        a.grant(ID[name], Role.WRITER, name)
    meet(devices)
    for name in "bc":
        assert all(who.membership.roles[ID[name]] is Role.WRITER for who in devices.values()), told
    # Nothing that was stored is lost at the next start.
    again = Members(a._store, KEYS["a"])
    assert again.credentials == a.credentials
    assert again.membership == a.membership


NUMBERS = st.one_of(st.integers(1, 4), st.sampled_from([255, 256, 511, 512, 2**32, 2**62 - 2, 2**62 - 1]))
FORGED = st.tuples(
    st.sampled_from("be"), st.sampled_from("abcde"), st.sampled_from([*Role, None]), NUMBERS, st.booleans()
)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.one_of(st.sampled_from(sorted(STEPS)), FORGED), max_size=14), st.integers(0, 2**32))
def test_whatever_dishonest_admins_sign_all_agree_and_the_key_settles_it(
    steps: list[str | tuple[str, str, Role | None, int, bool]], seed: int
) -> None:
    devices = scene()
    for step in steps:
        if isinstance(step, str):
            with suppress(HoloError):
                STEPS[step](devices)
            continue
        by, who, role, generation, keeps = step
        if role is None:
            kept = [grant_digest(g) for g in devices[by].credentials.grants if g.issuer == ID[who]] if keeps else []
            statement = Credentials(removals=(sign_removed(KEYS[by], VOLUME, ID[who], generation, (), kept),))
        else:
            statement = Credentials(grants=(sign_grant(KEYS[by], VOLUME, ID[who], role, generation, who),))
        learn(devices[by], statement)
    known = everything(devices)
    meet(devices)
    for who in devices.values():
        assert same(who.membership, resolve(VOLUME, known))
    assert same(one_by_one(known, seed), resolve(VOLUME, known))
    settle(devices, steps)


def test_whom_a_removed_admin_had_removed_stays_out_unless_it_is_undone() -> None:
    for undo in (False, True):
        devices = scene()
        devices["b"].remove(ID["c"])
        learn(devices["a"], devices["b"])
        devices["a"].remove(ID["b"], undo)
        roles = devices["a"].membership.roles
        assert (ID["c"] in roles) is undo
        assert (ID["d"] in roles, ID["e"] in roles) == (not undo, not undo)


def test_an_admin_that_was_lowered_gets_nothing_back_when_the_one_who_lowered_it_goes() -> None:
    devices = scene()
    learn(devices["a"], devices["b"])
    devices["a"].grant(ID["d"], Role.ADMIN, "d")
    learn(devices["b"], devices["a"])
    devices["b"].change_role(ID["d"], Role.READER)
    learn(devices["a"], devices["b"])
    devices["a"].remove(ID["b"])
    learn(devices["d"], devices["a"])
    assert devices["d"].role is Role.READER
    stranger = DeviceId(SigningKey(b"x" * 32).public)
    learn(devices["a"], Credentials(grants=(sign_grant(KEYS["d"], VOLUME, stranger, Role.ADMIN, 1, "x"),)))
    assert not devices["a"].is_member(stranger)


def test_a_removal_that_no_other_device_could_read_is_not_made() -> None:
    devices = scene()
    far = sign_grant(KEY, VOLUME, ID["b"], Role.ADMIN, 2**62 - 1, "b")
    learn(devices["a"], Credentials(grants=(far,)))
    before = devices["a"].credentials
    with pytest.raises(HoloError):
        devices["a"].change_role(ID["b"], Role.READER)
    assert devices["a"].credentials == before
    devices["a"].remove(ID["b"])
    assert not devices["a"].is_member(ID["b"])
    assert load_credentials(devices["a"]._store) == devices["a"].credentials


# ---- undoing
def test_who_undoes_what_made_it_an_admin_stays_one() -> None:
    devices = scene()
    devices["e"].remove(ID["b"], undo=True)
    assert devices["e"].membership.roles == {ID["a"]: Role.ADMIN, ID["c"]: Role.WRITER, ID["e"]: Role.ADMIN}
    meet(devices)
    assert all(same(who.membership, devices["e"].membership) for who in devices.values())


def test_who_is_an_admin_by_others_that_would_go_too_is_told_so_and_nothing_changes() -> None:
    devices = scene()
    before = devices["e"].credentials
    with pytest.raises(RoleTooLow):
        devices["e"].remove(ID["a"], undo=True)
    assert devices["e"].credentials == before
    devices["e"].remove(ID["a"])
    assert devices["e"].role is Role.ADMIN


def test_undoing_a_removed_device_leaves_those_whom_we_let_in() -> None:
    devices = scene()
    e, guest = devices["e"], DeviceId(SigningKey(b"g" * 32).public)
    e.grant(guest, Role.WRITER, "guest")
    e.remove(ID["a"])
    e.remove(ID["a"], undo=True)
    assert e.membership.roles == {ID["e"]: Role.ADMIN, guest: Role.WRITER}


def test_undoing_a_removed_device_leaves_the_roles_that_others_gave() -> None:
    devices = scene()
    learn(devices["a"], devices["b"])
    devices["a"].grant(ID["d"], Role.ADMIN, "d")  # whom b let in
    devices["a"].remove(ID["b"])
    devices["a"].remove(ID["b"], undo=True)
    assert devices["a"].membership.roles[ID["d"]] is Role.ADMIN
    assert ID["e"] not in devices["a"].membership.roles


# ---- room
GUESTS = [DeviceId(SigningKey(bytes([n]) * 32).public) for n in range(1, 5)]


def test_where_there_is_no_room_a_new_member_does_not_put_out_another_one(monkeypatch: pytest.MonkeyPatch) -> None:
    devices = scene()
    a = devices["a"]
    a.grant(GUESTS[0], Role.WRITER, "x")
    a.remove(GUESTS[0])
    a.grant(GUESTS[0], Role.WRITER, "x")  # in generation 256: behind whatever is granted to others
    own = sum(map(sets.grant_bytes, (g for g in a.credentials.grants if g.issuer == ID["a"])))
    monkeypatch.setattr(sets, "GRANT_ROOM", own * 16 // 3 + 1)
    assert relevant(VOLUME, a.credentials) == a.credentials
    with pytest.raises(Refused):
        a.grant(GUESTS[1], Role.WRITER, "y")
    assert a.is_member(GUESTS[0])
    assert not a.is_member(GUESTS[1])


def test_one_more_admin_does_not_put_out_whom_another_one_let_in(monkeypatch: pytest.MonkeyPatch) -> None:
    devices = scene()
    a, b = devices["a"], devices["b"]
    for guest in GUESTS:
        b.grant(guest, Role.WRITER, "x")
    learn(a, b)
    monkeypatch.setattr(sets, "GRANT_ROOM", 8192)  # 1,152 bytes are b's own, or 576
    before = a.membership
    assert relevant(VOLUME, a.credentials) == a.credentials
    cast(Memory, a._store).heard += [ID["d"], ID["e"], *GUESTS]
    with pytest.raises(Refused):
        a.change_role(ID["c"], Role.ADMIN)
    assert a.membership == before
    a.remove(ID["b"], undo=True)
    a.change_role(ID["c"], Role.ADMIN)
    assert a.membership.roles == {ID["a"]: Role.ADMIN, ID["c"]: Role.ADMIN}


def test_devices_that_an_admin_made_up_stop_nobody_from_making_another_one(monkeypatch: pytest.MonkeyPatch) -> None:
    devices = scene()
    a, b = devices["a"], devices["b"]
    for guest in GUESTS:
        b.grant(guest, Role.WRITER, "x")
    learn(a, b)
    monkeypatch.setattr(sets, "GRANT_ROOM", 8192)
    a.change_role(ID["c"], Role.ADMIN)
    assert a.membership.roles[ID["c"]] is Role.ADMIN


# ---- removing an admin that signed very much
def made_up(number: int) -> DeviceId:
    return DeviceId(SigningKey(b"%032d" % number).public)


def test_who_let_in_more_than_can_be_kept_can_be_removed_as_the_refusal_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(members, "KEPT_MOST", 12)
    devices = scene()
    a = devices["a"]
    learn(
        a, Credentials(grants=tuple(sign_grant(KEYS["b"], VOLUME, made_up(n), Role.READER, 1, "x") for n in range(11)))
    )
    learn(a, Credentials(removals=(sign_removed(KEYS["b"], VOLUME, ID["c"], 255),)))
    before = a.credentials
    for refused in (lambda: a.remove(ID["b"]), lambda: a.change_role(ID["b"], Role.READER)):
        with pytest.raises(Refused, match=r"--undo: .* that it let in go with it, .* are members again"):
            refused()
        assert a.credentials == before
    a.remove(ID["b"], undo=True)
    assert a.membership.roles == {ID["a"]: Role.ADMIN, ID["c"]: Role.WRITER}


def test_very_many_grants_of_one_device_are_kept_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(members, "KEPT_MOST", 4)
    roles = (Role.WRITER, Role.READER)
    many = tuple(sign_grant(KEYS["b"], VOLUME, ID["d"], roles[n % 2], n, f"d {n}") for n in range(2, 52))
    ours = tuple(sign_grant(KEYS["b"], VOLUME, ID["e"], Role.ADMIN, n, f"e {n}") for n in range(2, 52))
    for undo in (False, True):
        e = scene()["e"]
        learn(e, Credentials(grants=many + ours))
        before = e.membership
        e.remove(ID["b"], undo)
        gone = {ID["b"], ID["d"]} if undo else {ID["b"]}
        assert e.membership.roles == {who: role for who, role in before.roles.items() if who not in gone}
        assert e.membership.names.items() <= before.names.items()


def test_removals_of_devices_that_nobody_knows_use_up_no_room_of_whoever_removes_the_liar() -> None:
    """And of those that an honest device let in only as much as one each."""
    devices = scene()
    a, b = devices["a"], KEYS["b"]
    nobody = tuple(sign_removed(b, VOLUME, made_up(n), 1) for n in range(100))
    let_in = tuple(sign_grant(b, VOLUME, made_up(n), Role.ADMIN, 1, "x") for n in range(50))
    again = tuple(sign_removed(b, VOLUME, ID["c"], n) for n in range(1, 51))
    learn(a, Credentials(let_in, (*nobody, *again)))
    assert ID["c"] not in a.membership.roles
    known = len(a.credentials.removals)
    a.remove(ID["b"])
    assert len(a.credentials.removals) == known + 2
    meet(devices)
    for who in devices.values():
        assert set(who.membership.roles) == {ID["a"], ID["d"], ID["e"]}
    a.grant(ID["c"], Role.WRITER, "c")
    assert a.membership.roles[ID["c"]] is Role.WRITER


def test_whom_a_device_let_in_stays_though_the_admin_that_removed_it_and_kept_them_goes() -> None:
    devices = scene()
    guest = made_up(0)
    devices["e"].grant(guest, Role.WRITER, "guest")
    learn(devices["b"], devices["e"])
    devices["b"].remove(ID["e"])  # whom b alone had let in
    learn(devices["a"], devices["b"])
    devices["a"].remove(ID["b"])
    assert devices["a"].membership.roles == {
        ID["a"]: Role.ADMIN,
        ID["c"]: Role.WRITER,
        ID["d"]: Role.WRITER,
        guest: Role.WRITER,
    }
