# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks of `device.db` against itself and the volumes' directories: each kind of harm is found, and one that is mended
is found no more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from holofsd.check.device import examine_device
from holofsd.check.report import Report
from holofsd.codec.signing import generate
from holofsd.core.document import Role
from holofsd.core.ids import DeviceId, VolumeId
from holofsd.store.device import DeviceStore, InviteRow, JoinRow, MountRow, VolumeRow

KEY = generate()
HERE = VolumeId(KEY.public)
OTHER = VolumeId(b"o" * 32)
SECRET = b"s" * 16


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DeviceStore]:
    (tmp_path / "volumes" / HERE.hex()).mkdir(parents=True)
    with closing(DeviceStore(tmp_path)) as store, store.db.transaction():
        store.put_volume(VolumeRow(HERE, "docs", "ready", KEY.seed, 1))
        store.put_volume(VolumeRow(OTHER, "photos", "joining", None, 1))
        store.put_join(JoinRow(OTHER, "holofs1", "photos", ""))
        store.put_invite(InviteRow(SECRET, HERE, int(Role.WRITER), -1, 0, 1, 0))
        store.use_invite(SECRET, DeviceId(b"d" * 32))
        store.put_mount(MountRow(b"/there", HERE, 0, "", "m", 0, 1))
        store.put_address(DeviceId(b"d" * 32), "127.0.0.1:1", 1)
        yield store


def examined(store: DeviceStore, repair: bool = False) -> Report:
    report = Report(repair)
    examine_device(store, store.db.path.parent, report)
    return report


def test_a_device_that_is_well_has_no_findings(store: DeviceStore) -> None:
    report = examined(store)
    assert report.findings == {}
    assert report.checked == {"volumes": 2, "tickets": 1, "invites": 1, "mounts": 1, "peers": 1}


def test_leaving_a_volume_leaves_nothing_of_it(store: DeviceStore) -> None:
    store.delete_volume(HERE)
    assert examined(store).findings == {}
    assert store.db.number("SELECT count(*) FROM redemptions") == 0


HARM: dict[str, Callable[[DeviceStore], object]] = {
    "recovery-code-wrong": lambda store: store.put_volume(VolumeRow(HERE, "docs", "ready", b"x" * 32, 1)),
    "ticket-alone": lambda store: store.db.run("DELETE FROM volumes WHERE id=?", (OTHER,)),
    "invite-useless": lambda store: store.put_invite(InviteRow(b"t" * 16, VolumeId(b"n" * 32), 2, 1, 0, 1, 0)),
    "redemption-alone": lambda store: store.db.run("DELETE FROM invites"),
    "mount-useless": lambda store: store.put_mount(MountRow(b"/gone", VolumeId(b"n" * 32), 0, "", "g", 0, 1)),
    "address-useless": lambda store: store.put_address(DeviceId(b"short"), "127.0.0.1:1", 1),
}
LEFT: dict[str, Callable[[DeviceStore], object]] = {
    "volume-directory-missing": lambda store: (store.db.path.parent / "volumes" / HERE.hex()).rmdir(),
    "ticket-missing": lambda store: store.delete_join(OTHER),
    "volume-state-unknown": lambda store: store.put_volume(VolumeRow(HERE, "docs", "?", KEY.seed, 1)),
    "ticket-name-taken": lambda store: store.put_join(JoinRow(VolumeId(b"n" * 32), "holofs1", "docs", "")),
}


@pytest.mark.parametrize("code", HARM)
def test_what_has_one_right_answer_is_found_and_mended(store: DeviceStore, code: str) -> None:
    HARM[code](store)
    found = examined(store)
    assert set(found.findings) == {code}
    assert set(examined(store).findings) == {code}, "a look changes nothing"
    assert examined(store, repair=True).left == 0
    assert examined(store).findings == {}


@pytest.mark.parametrize("code", LEFT)
def test_what_nobody_can_know_is_listed_and_left(store: DeviceStore, code: str) -> None:
    LEFT[code](store)
    before = [store.volumes(), store.joins()]
    assert examined(store, repair=True).findings[code].outcome == "left"
    assert [store.volumes(), store.joins()] == before
