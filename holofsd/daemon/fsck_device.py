# SPDX-License-Identifier: GPL-3.0-or-later
"""fsck of `device.db`, as a person asks for it. Blocking; see `holofsd.check.device`."""

from __future__ import annotations

import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Final

from holofsd.check.device import DEVICE, device_complaint, examine_device, remade
from holofsd.check.mending import backup_time
from holofsd.check.report import Report
from holofsd.check.standing import what_stands
from holofsd.core.errors import DamagedIndex
from holofsd.core.ids import DeviceId
from holofsd.daemon.fsck import told_of
from holofsd.daemon.orphans import take_up
from holofsd.daemon.vitals import now_ms
from holofsd.rpc.device_api import FsckVolume
from holofsd.store.copies import copy_database
from holofsd.store.device import DeviceStore, VolumeRow

DAMAGED: Final = "device-damaged"


def open_device_store(state: Path) -> DeviceStore:
    """Raises DamagedIndex, with what to do, where `device.db` cannot be trusted: it is never replaced unasked."""
    complaint = device_complaint(state)
    if complaint:
        raise DamagedIndex(_explained(state, complaint))
    return DeviceStore(state)


def _explained(state: Path, complaint: str) -> str:
    made = backup_time(state, DEVICE)
    when = f", its backup of {time.strftime('%Y-%m-%d %H:%M', time.localtime(made))}" if made else ""
    return (
        f"{DEVICE} is damaged ({complaint}): `holofsctl fsck --repair` makes a new one of what can be read of it{when}"
        " and the volumes' directories, which are whole."
    )


def check_device_in_use(state: Path) -> FsckVolume:
    """Looks only, at a copy: what the daemon has in memory would not hear of a repair."""
    try:
        report = what_stands(lambda: _examined_copy(state))
    except DamagedIndex as error:
        report = Report(repair=False)
        report.add(DAMAGED, DEVICE, _explained(state, error.message), fixable=True)
    return _told(state, report)


def _examined_copy(state: Path) -> Report:
    report = Report(repair=False)
    with tempfile.TemporaryDirectory(prefix="fsck-", dir=state) as folder:
        copy_database(state / DEVICE, Path(folder) / DEVICE)
        with closing(DeviceStore(Path(folder))) as store:
            examine_device(store, state, report)
    return report


def check_device_closed(state: Path, device: DeviceId, repair: bool) -> FsckVolume:
    """Checks the database of a device whose daemon does not run, and repairs it if told so."""
    report = Report(repair)
    complaint = device_complaint(state) or ("" if (state / DEVICE).exists() else "the file is gone")
    if complaint:
        sentence = f"{DEVICE} was damaged, and a new one was made of what could be read." if repair else ""
        report.add(DAMAGED, complaint, sentence or _explained(state, complaint), fixable=True)
        if not repair:
            return _told(state, report)
        for words in remade(state):
            told = "These could not be read, and may be missing now."
            report.add("device-rows-lost", words, told, fixable=False)
    with closing(DeviceStore(state)) as store:
        _take_up(store, state, device, report)
        examine_device(store, state, report)
    return _told(state, report)


def _take_up(store: DeviceStore, state: Path, device: DeviceId, report: Report) -> None:
    """The volumes that are in `volumes/` and not written down: every start does it, too."""
    if not report.repair:
        return
    rows = store.volumes()
    for volume, name in take_up(state / "volumes", {row.id for row in rows}, {row.name for row in rows}, device):
        with store.db.transaction():
            store.put_volume(VolumeRow(volume, name, "ready", None, now_ms()))
        told = "The volume was not written down, and is taken up from its directory."
        report.add("volume-taken-up", name, told, fixable=True)


def _told(state: Path, report: Report) -> FsckVolume:
    return told_of(report, "", "", backup_time(state, DEVICE))
