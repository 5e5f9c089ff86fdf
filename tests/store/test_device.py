# SPDX-License-Identifier: GPL-3.0-or-later
"""The device's own database: volumes, invites, joins, mounts and addresses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from holofsd.core.ids import DeviceId, VolumeId
from holofsd.store.device import DeviceStore, InviteRow, JoinRow, MountRow, VolumeRow

VOLUME, OTHER = VolumeId(b"v" * 32), VolumeId(b"w" * 32)
DEVICE = DeviceId(b"d" * 32)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DeviceStore]:
    opened = DeviceStore(tmp_path)
    yield opened
    opened.close()


def test_volumes_are_listed_by_name_and_changed_in_place(store: DeviceStore) -> None:
    first, second = VolumeRow(VOLUME, "b", "ready", b"k" * 32, 1), VolumeRow(OTHER, "a", "joining", None, 2)
    store.put_volume(first)
    store.put_volume(second)
    assert store.volumes() == [second, first]
    ready = VolumeRow(OTHER, "a", "ready", None, 2)
    store.put_volume(ready)
    assert store.volumes() == [ready, first]


def test_leaving_a_volume_takes_its_invites_joins_and_mounts_along(store: DeviceStore) -> None:
    for volume, name in ((VOLUME, "a"), (OTHER, "b")):
        store.put_volume(VolumeRow(volume, name, "ready", None, 1))
        store.put_invite(InviteRow(volume[:16], volume, 1, 1, 0, 0, 0))
        store.put_join(JoinRow(volume, "ticket", name, ""))
        store.put_mount(MountRow(b"/m/" + name.encode(), volume, 0, "pyfuse3", "id", 0, 1))
    store.delete_volume(VOLUME)
    assert [row.id for row in store.volumes()] == [OTHER]
    assert store.invites(VOLUME) == []
    assert [row.volume for row in store.joins()] == [OTHER]
    assert [row.path for row in store.mounts()] == [b"/m/b"]


def test_an_invite_counts_down_and_remembers_who_used_it(store: DeviceStore) -> None:
    secret = b"s" * 16
    store.put_invite(InviteRow(secret, VOLUME, 2, 1, 0, 0, 0))
    assert not store.redeemed(secret, DEVICE)
    store.use_invite(secret, DEVICE)
    assert store.redeemed(secret, DEVICE)
    store.use_invite(secret, DEVICE)
    invite = store.invite(secret)
    assert invite is not None
    assert invite.uses_left == 0
    assert store.invite(b"x" * 16) is None


def test_an_invite_without_limit_stays_without_limit(store: DeviceStore) -> None:
    secret = b"s" * 16
    store.put_invite(InviteRow(secret, VOLUME, 2, -1, 0, 0, 0))
    store.use_invite(secret, DEVICE)
    invite = store.invite(secret)
    assert invite is not None
    assert invite.uses_left == -1


def test_a_join_is_forgotten_once_it_is_done(store: DeviceStore) -> None:
    store.put_join(JoinRow(VOLUME, "ticket", "name", "expired"))
    assert store.joins() == [JoinRow(VOLUME, "ticket", "name", "expired")]
    store.delete_join(VOLUME)
    assert store.joins() == []


def test_mounts_are_found_again_after_a_restart(store: DeviceStore, tmp_path: Path) -> None:
    row = MountRow(b"/m", VOLUME, 1, "fusepy", "id", 42, 1)
    store.put_mount(row)
    store.close()
    again = DeviceStore(tmp_path)
    assert again.mounts() == [row]
    again.delete_mount(b"/m")
    assert again.mounts() == []
    again.close()


def test_the_newest_sixteen_addresses_of_a_device_are_kept(store: DeviceStore) -> None:
    for seen in range(30):
        store.put_address(DEVICE, f"10.0.0.{seen}:1", seen)
    store.put_address(DeviceId(b"e" * 32), "10.1.1.1:1", 0)
    assert store.addresses(DEVICE) == [f"10.0.0.{seen}:1" for seen in range(29, 13, -1)]
    assert store.addresses(DeviceId(b"e" * 32)) == ["10.1.1.1:1"]


def test_values_by_name_are_kept(store: DeviceStore) -> None:
    store.set_meta("x", b"1")
    assert store.meta("x") == b"1"
    assert store.meta("y") is None
