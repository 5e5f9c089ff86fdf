# SPDX-License-Identifier: GPL-3.0-or-later
"""Choice of connections: every device reaches every other through others, and none talks to all."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from holofsd.core.ids import DeviceId, VolumeId
from holofsd.sync.wiring import neighbours

VOLUME = VolumeId(b"v" * 32)


def device(number: int) -> DeviceId:
    return DeviceId(number.to_bytes(32, "big"))


@given(st.integers(2, 40), st.integers(2, 8), st.integers(0, 2**32))
def test_those_who_are_online_are_connected_with_each_other(count: int, enough: int, seed: int) -> None:
    members = [device(number) for number in range(count)]
    chance = random.Random(seed)
    online = {member for member in members if chance.random() < 0.6}
    reached: set[DeviceId] = set()
    edge = set(list(online)[:1])
    links = {
        member: {other for other in neighbours(VOLUME, member, members, online.__contains__, enough) if other in online}
        for member in online
    }
    while edge:
        reached |= edge
        either_way = {b for a, others in links.items() for b in others if a in edge} | {
            a for a, others in links.items() if others & edge
        }
        edge = either_way - reached
    assert reached == online
    assert all(len(others) <= enough for others in links.values())


def test_a_few_members_are_all_wanted() -> None:
    members = [device(number) for number in range(9)]
    chosen = neighbours(VOLUME, members[0], members, lambda _device: False, 8)
    assert sorted(chosen) == members[1:]


def test_nobody_wants_itself() -> None:
    assert neighbours(VOLUME, device(1), [], lambda _device: True, 8) == []
    assert neighbours(VOLUME, device(1), [device(1)], lambda _device: True, 8) == []
