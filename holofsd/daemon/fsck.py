# SPDX-License-Identifier: GPL-3.0-or-later
"""One volume's fsck as a person asks for it: the index itself, then what it says. Blocking; see `holofsd.check`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

from holofs_api.shell import shell_word
from holofsd.check.fsck import FileCheck, examine, examine_copy
from holofsd.check.mending import INDEX, backup_time, finish, rebuilt, restored
from holofsd.check.report import Report
from holofsd.core.errors import DamagedIndex
from holofsd.core.ids import DeviceId
from holofsd.rpc.device_api import FsckCount, FsckFinding, FsckOrders, FsckVolume
from holofsd.store.copies import complaint_about
from holofsd.store.device import VolumeRow

_DAMAGED: Final = "index-damaged"


def index_complaint(directory: Path) -> str:
    """Reason why the index cannot be used, empty if it can. Reads it once: some 1 GB a second."""
    if not (directory / INDEX).exists():
        return "the file is gone"
    return complaint_about(directory / INDEX)


def explained(complaint: str, name: str, directory: Path) -> str:
    """Sentence that tells a person that a volume's index is damaged, and what to do."""
    word = shell_word(name)
    return (
        f"Its index is damaged ({complaint}), so nothing is written to it and nothing is sent or received; what can be"
        f" read is shown. `holofsctl fsck {word} --repair` mends what has one right answer;"
        f" {_about_backup(directory, word)}"
    )


def _about_backup(directory: Path, word: str) -> str:
    made = backup_time(directory)
    if not made:
        return "there is no backup of it yet."
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(made))
    told = f"`holofsctl fsck {word} --from-backup` takes the index of {when}"
    return f"{told}, with all that can still be read of this one."


def check_in_use(row: VolumeRow, directory: Path, device: DeviceId, orders: FsckOrders) -> FsckVolume:
    """Checks a volume that is open. It looks only, at a copy of the index."""
    report = Report(repair=False)
    complaint = index_complaint(directory)
    if complaint:
        _note_damage(report, row, directory, complaint)
    else:
        try:
            report = examine_copy(row.id, directory, device, files=_files(orders))
        except DamagedIndex as error:
            _note_damage(report, row, directory, error.message)
    return _told(row, directory, report)


def check_closed(row: VolumeRow, directory: Path, device: DeviceId, orders: FsckOrders) -> FsckVolume:
    """Checks a volume that no process has open, and repairs it if told so. Raises DamagedIndex if there is no usable
    backup and one is asked for."""
    finish(directory)
    repair = orders.repair or orders.from_backup
    if orders.from_backup:
        strays = restored(row.id, directory)
        report = examine(row.id, directory, device, repair=True, files=_files(orders))
        _note_restored(report, strays)
        return _told(row, directory, report)
    complaint = index_complaint(directory)
    lost = rebuilt(directory) if complaint and repair and (directory / INDEX).exists() else {}
    if complaint and (lost or not repair or not (directory / INDEX).exists()):
        report = Report(repair)
        tables = f"; rows are lost in {', '.join(sorted(lost))}" if lost else ""
        _note_damage(report, row, directory, complaint + tables)
        return _told(row, directory, report)
    try:
        report = examine(row.id, directory, device, repair=repair, files=_files(orders))
    except DamagedIndex as error:
        report = Report(repair)
        report.add(_DAMAGED, INDEX, error.message, fixable=False)
    if complaint:
        sentence = "The index was damaged; all that cannot be derived could be read, and a new one was made of it."
        report.add("index-rebuilt", complaint, sentence, fixable=True)
    return _told(row, directory, report)


def _files(orders: FsckOrders) -> FileCheck:
    return FileCheck.HASHES if orders.content else FileCheck.SIZES


def _note_damage(report: Report, row: VolumeRow, directory: Path, complaint: str) -> None:
    report.add(_DAMAGED, INDEX, explained(complaint, row.name, directory), fixable=False)


def _note_restored(report: Report, strays: list[str]) -> None:
    sentence = (
        "The index of the backup was taken, with what could be read of the other; a new author goes on from here."
    )
    report.add("index-restored", INDEX, sentence, fixable=True)
    for path in strays:
        told = "What a program was writing is kept aside, for nobody knows which file it belongs to."
        report.add("staging-unknown", path, told, fixable=False)


def _told(row: VolumeRow, directory: Path, report: Report) -> FsckVolume:
    return told_of(report, row.name, row.id.hex(), backup_time(directory))


def told_of(report: Report, name: str, id: str, backup_s: float) -> FsckVolume:
    findings = [
        FsckFinding(f.code, f.sentence, f.outcome.value, f.count, tuple(f.subjects))
        for f in sorted(report.findings.values(), key=lambda f: f.code)
    ]
    counts = tuple(FsckCount(what, number) for what, number in report.checked.items())
    return FsckVolume(name, id, tuple(findings), counts, report.left, int(backup_s * 1000))
