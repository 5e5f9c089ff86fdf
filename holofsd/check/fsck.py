# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole check of one volume: document, states, names, content, staging; then what is to be repaired, at once."""

from __future__ import annotations

import shutil
import tempfile
from enum import Enum, auto
from pathlib import Path

from holofsd.check.bodies import check_bodies
from holofsd.check.case import Case
from holofsd.check.derived import check_derived
from holofsd.check.document import check_authors, check_credentials, check_document
from holofsd.check.files import check_content, check_staging
from holofsd.check.report import Report
from holofsd.check.standing import what_stands
from holofsd.codec import wire
from holofsd.core import members as rules
from holofsd.core.credentials import merge_credentials
from holofsd.core.document import WRITERS, Credentials, Membership
from holofsd.core.errors import Refused
from holofsd.core.ids import DeviceId, VolumeId
from holofsd.store.copies import copy_database
from holofsd.store.volume import VolumeStore


class FileCheck(Enum):
    """Depth of the look at content and staging."""

    IGNORED = auto()
    SIZES = auto()
    HASHES = auto()


def examine(volume: VolumeId, directory: Path, device: DeviceId, *, repair: bool, files: FileCheck) -> Report:
    """Blocking. Nobody else uses the directory. Raises DamagedIndex if the index cannot be read."""
    store = VolumeStore(volume, directory)
    scratch = Path(tempfile.mkdtemp(prefix="fsck-", dir=directory))
    try:
        return _examine(store, device, scratch, repair, files)
    finally:
        store.close()
        shutil.rmtree(scratch, ignore_errors=True)


def examine_copy(volume: VolumeId, directory: Path, device: DeviceId, *, files: FileCheck) -> Report:
    """Blocking. The same of a volume in use, on a copy of its index; changes nothing."""
    return what_stands(lambda: look_at_copy(volume, directory, device, files=files))


def look_at_copy(volume: VolumeId, directory: Path, device: DeviceId, *, files: FileCheck) -> Report:
    """Blocking. One look of `examine_copy`: enough where nothing moves meanwhile."""
    copy = Path(tempfile.mkdtemp(prefix="fsck-", dir=directory))
    try:
        copy_database(directory / "index.db", copy / "index.db")
        # Not `incoming`: opening a volume sweeps it, and what is there is on its way.
        for folder in ("content", "staging", "segments", "lists"):
            if (directory / folder).exists():
                (copy / folder).symlink_to(directory / folder)
        return examine(volume, copy, device, repair=False, files=files)
    finally:
        shutil.rmtree(copy, ignore_errors=True)


def _examine(store: VolumeStore, device: DeviceId, scratch: Path, repair: bool, files: FileCheck) -> Report:
    membership = _membership(store)
    case = Case(store, Report(repair), membership, membership.roles.get(device) in WRITERS)
    check_credentials(case)
    check_authors(case)
    check_document(case)
    if files is not FileCheck.IGNORED:
        check_content(case, read_all=files is FileCheck.HASHES)
        check_bodies(case, read_all=files is FileCheck.HASHES)
        check_staging(case)
    check_derived(case, scratch)
    if repair:
        _carry_out(case)
    return case.report


def _carry_out(case: Case) -> None:
    with case.store.db.transaction():
        for change in case.repairs:
            change()
    case.store.db.sync_now()
    for step in case.after:
        step()


def _membership(store: VolumeStore) -> Membership:
    """Resolves the membership from the credentials that can be read."""
    found: list[Credentials] = []
    for _kind, message in store.credentials():
        try:
            found.append(wire.decode_credentials(message))
        except Refused:
            continue
    return rules.resolve(store.volume, merge_credentials(*found), store.documents.folded())
