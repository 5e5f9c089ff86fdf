# SPDX-License-Identifier: GPL-3.0-or-later
"""A removal that lost to a write, a move or a link leaves a node that later operations on any device go on from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holofsd.core import edit
from holofsd.core.join import join
from holofsd.core.node import is_alive, outlived
from support.model import Device, meet
from tests.core.test_nothing_is_lost import contents

NAMES = (b"a", b"b", b"c")
TURNS = ((), ("write",), ("unlink",), ("write", "unlink"), ("rename",), ("link",))
"""What a device does before it meets the other one."""
NAME_STEPS = ("unlink", "unlink", "rename", "link", "meet", "meet")


@dataclass(frozen=True)
class Step:
    device: int
    operation: str
    which: int
    name: bytes

    def run(self, devices: Sequence[Device]) -> None:
        device = devices[self.device]
        names = sorted(device.tree())
        old = names[self.which % len(names)] if names else self.name
        match self.operation:
            case "meet":
                meet(*devices)
            case "write":
                device.write(old, b"%s %d" % (device.author, len(device.log)))
            case "unlink":
                device.unlink(old)
            case _:
                getattr(device, self.operation)(old, self.name)


STEPS = st.builds(Step, st.integers(0, 1), st.sampled_from(NAME_STEPS), st.integers(0, 2), st.sampled_from(NAMES))


def devices_with(*paths: bytes) -> list[Device]:
    """Two devices that have met; the first one made the file, and gave it each further name."""
    devices = [Device(name, skew) for name, skew in (("ada", 0), ("ben", 5_000))]
    devices[0].write(paths[0], b"first")
    for path in paths[1:]:
        devices[0].link(paths[0], path)
    meet(*devices)
    return devices


def shown(device: Device) -> dict[bytes, object]:
    return {path: found.content for path, found in device.tree().items()}


# ---- versions
def outlived_removal() -> tuple[Device, Device]:
    """The second device wrote and removed the file while the first one wrote it: that version keeps the file."""
    ada, ben = devices_with(b"f")
    ben.now_ms += 60_000
    ada.write(b"f", b"late")
    ben.write(b"f", b"removed")
    ben.unlink(b"f")
    meet(ada, ben)
    assert shown(ada) == shown(ben) == {b"f": b"late"}
    return ada, ben


@pytest.mark.parametrize("keeping", ["rename", "link"])
@pytest.mark.parametrize("remover", [0, 1])
def test_a_version_that_went_while_another_one_stayed_does_not_come_back(keeping: str, remover: int) -> None:
    devices = outlived_removal()
    devices[remover].unlink(b"f")
    getattr(devices[1 - remover], keeping)(b"f", b"g")
    meet(*devices)
    for device in devices:
        assert shown(device) == {b"g": b"late"}


def test_whoever_writes_a_node_drops_versions_that_another_one_outlived() -> None:
    ada, _ben = outlived_removal()
    (state,) = ada.states.values()
    (ended,) = outlived(state)
    stamp, place = ada.stamp(), next(iter(state.links.values())).place
    assert place is not None
    link = next(iter(state.links))
    for written in (
        edit.removed(state),
        edit.moved(state, link, place, stamp),
        edit.with_link(state, edit.link_id(state.id, b"more"), place, stamp),
        edit.with_version(state, ada.version(next(iter(state.versions.values())).body), []),
    ):
        assert ended.dot not in written.versions
        assert join(written, state) == join(state, written)
        assert ended.dot not in join(written, state).versions, "the context covers what was dropped"


@pytest.mark.parametrize("first", TURNS, ids="-".join)
def test_a_content_that_every_device_saw_go_never_comes_back(first: Sequence[str]) -> None:
    """All that two devices can do apart in two rounds of a turn each."""
    for second, third, fourth in product(TURNS, repeat=3):
        devices = devices_with(b"a")
        written: set[bytes] = set()
        gone: set[bytes] = set()
        for turns in ((first, second), (third, fourth)):
            for device, turn in zip(devices, turns, strict=True):
                for operation in turn:
                    Step(devices.index(device), operation, 0, b"b").run(devices)
                    written |= contents(device.tree())
            meet(*devices)
            assert not gone & contents(devices[0].tree()), (first, second, third, fourth)
            gone |= written - contents(devices[0].tree())


# ---- names
@pytest.mark.parametrize("touch", ["link", "restore", "rename other", "write and link"])
def test_a_name_that_came_back_stays_when_others_come(touch: str) -> None:
    ada, ben = devices_with(b"pp", b"pq")
    ada.unlink(b"pp")
    ben.unlink(b"pq")
    meet(ada, ben)
    assert shown(ada) == {b"pq": b"first"}
    if touch == "restore":
        (state,) = ada.states.values()
        gone = next(id for id, link in state.links.items() if link.before and link.before.name == b"pp")
        place = state.links[gone].before
        assert place is not None
        ada.put(edit.moved(state, gone, place, ada.stamp()))
        expected = {b"pp", b"pq"}
    else:
        if touch == "write and link":
            ada.write(b"pq", b"first")
        ada.link(b"pq", b"tmp")
        expected = {b"pq", b"tmp"}
    if touch == "rename other":
        ada.rename(b"tmp", b"moved")
        expected = {b"pq", b"moved"}
    assert shown(ada) == dict.fromkeys(expected, b"first")
    meet(ada, ben)
    assert shown(ben) == dict.fromkeys(expected, b"first")
    for name in expected:
        ben.unlink(name)
    meet(ada, ben)
    assert shown(ada) == {}


def test_a_written_file_keeps_the_name_that_another_device_removed_when_it_gets_one_more() -> None:
    ada, ben = devices_with(b"f")
    ada.write(b"f", b"written")
    ben.unlink(b"f")
    meet(ada, ben)
    ben.link(b"f", b"g")
    assert shown(ben) == {b"f": b"written", b"g": b"written"}


def test_a_name_that_is_made_real_wins_against_no_move_of_it() -> None:
    ada, ben = devices_with(b"pp", b"pq")
    ada.unlink(b"pp")
    ben.unlink(b"pq")
    meet(ada, ben)
    ben.rename(b"pq", b"moved")
    ada.now_ms += 60_000
    ada.link(b"pq", b"tmp")
    meet(ada, ben)
    assert shown(ada) == shown(ben) == {b"moved": b"first", b"tmp": b"first"}


def test_each_of_two_devices_removes_another_name_of_a_file_that_links_alone_keep() -> None:
    ada, ben = devices_with(b"f")
    ada.unlink(b"f")
    ben.link(b"f", b"g")
    meet(ada, ben)
    ada.link(b"g", b"h")
    meet(ada, ben)
    ada.unlink(b"g")
    ben.unlink(b"h")
    meet(ada, ben)
    assert len(shown(ada)) == 1
    assert shown(ada) == shown(ben)


@settings(max_examples=150)
@given(st.lists(STEPS, min_size=8, max_size=24), st.booleans())
def test_a_file_of_which_no_device_removed_the_last_name_stays(program: Sequence[Step], by_links: bool) -> None:
    devices = devices_with(b"a", b"b")
    if by_links:
        for name in NAMES[:2]:
            devices[0].unlink(name)
        devices[1].link(b"a", b"c")
        meet(*devices)
    for step in program:
        device = devices[step.device]
        before = set(shown(device))
        if step.operation == "unlink" and len(before) < 2:
            continue
        step.run(devices)
        if step.operation == "link":
            assert before <= set(shown(device)), "a new name takes none away"
        if step.operation in ("unlink", "rename"):
            assert len(before - set(shown(device))) <= 1
        (state,) = devices[0].states.values()
        assert is_alive(state)
        for other in devices:
            assert shown(other), step
