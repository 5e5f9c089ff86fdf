# SPDX-License-Identifier: GPL-3.0-or-later
"""Room for connections of devices that nobody knows: little, for each source less, and never full."""

from __future__ import annotations

import pytest

from holofsd.net.api import CloseCode
from holofsd.net.strangers import Strangers, source_of


class One:
    def __init__(self, address: str) -> None:
        self.remote_address = address
        self.code: int | None = None

    def close(self, code: int, reason: str = "") -> None:
        self.code = code


def crowd(room: Strangers, addresses: list[str]) -> list[One]:
    made = [One(address) for address in addresses]
    for one in made:
        room.enter(one)  # type: ignore[arg-type]
    return made


def of_many(count: int) -> list[str]:
    return [f"10.1.{number // 256}.{number % 256}:4000" for number in range(count)]


def test_the_oldest_that_has_said_nothing_goes_for_the_next_one() -> None:
    room = Strangers(most=4, most_of_a_source=4)
    first, second, *_ = crowd(room, of_many(4))
    room.heard(first)  # type: ignore[arg-type]
    crowd(room, ["10.2.0.1:1"])
    assert (first.code, second.code) == (None, CloseCode.BUSY)
    assert len(room) == 4
    assert room.turned_away == 1


def test_where_all_have_spoken_the_oldest_goes() -> None:
    room = Strangers(most=3, most_of_a_source=3)
    all_of_them = crowd(room, of_many(3))
    for one in all_of_them:
        room.heard(one)  # type: ignore[arg-type]
    crowd(room, ["10.2.0.1:1"])
    assert [one.code for one in all_of_them] == [CloseCode.BUSY, None, None]


def test_a_crowd_at_one_source_pushes_out_itself_alone() -> None:
    room = Strangers(most=32, most_of_a_source=8)
    (quiet,) = crowd(room, ["10.9.9.9:1"])
    rest = crowd(room, ["10.0.0.1:" + str(port) for port in range(1, 1000)])
    assert quiet.code is None
    assert sum(one.code is None for one in rest) == 8
    assert len(room) == 9


def test_who_left_takes_no_room() -> None:
    room = Strangers(most=2, most_of_a_source=2)
    first, second = crowd(room, of_many(2))
    room.leave(first)  # type: ignore[arg-type]
    room.leave(first)  # type: ignore[arg-type]
    crowd(room, ["10.2.0.1:1"])
    assert (first.code, second.code) == (None, None)


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("10.0.0.1:1", "10.0.0.1:2", True),
        ("10.0.0.1:1", "10.0.0.2:1", False),
        ("[2001:db8:1:2:3::4]:5", "[2001:db8:1:2:ffff::9]:6", True),
        ("[2001:db8:1:2::4]:5", "[2001:db8:1:3::4]:5", False),
        ("[::ffff:10.0.0.1]:5", "10.0.0.1:6", True),
        ("[::ffff:10.0.0.1]:5", "[::ffff:10.0.0.2]:5", False),
        ("relay:https://one.example./", "relay:https://one.example./", True),
        ("relay:https://one.example./", "relay:https://two.example./", False),
        ("relay:https://one.example./", "10.0.0.1:1", False),
    ],
)
def test_a_source_is_whom_one_can_hold_responsible(one: str, other: str, is_same: bool) -> None:
    assert (source_of(one) == source_of(other)) is is_same
