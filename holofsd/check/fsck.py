# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole check of one volume: document, states, names, content, staging; then what is to be repaired, at once."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from holofsd.check.case import Case
from holofsd.check.derived import check_derived
from holofsd.check.document import check_authors, check_credentials, check_document
from holofsd.check.files import check_content, check_staging
from holofsd.check.report import Report
from holofsd.codec import wire
from holofsd.core import members as rules
from holofsd.core.document import Credentials, Membership
from holofsd.core.errors import Refused
from holofsd.core.ids import DeviceId, VolumeId
from holofsd.store.copies import copy_database
from holofsd.store.volume import VolumeStore


def examine(volume: VolumeId, directory: Path, device: DeviceId, *, repair: bool, read_all: bool) -> Report:
    """Blocking. Nobody else uses the directory. Raises DamagedIndex if the index cannot be read."""
    store = VolumeStore(volume, directory)
    scratch = Path(tempfile.mkdtemp(prefix="fsck-", dir=directory))
    try:
        return _examine(store, device, scratch, repair, read_all)
    finally:
        store.close()
        shutil.rmtree(scratch, ignore_errors=True)


def examine_copy(volume: VolumeId, directory: Path, device: DeviceId, *, read_all: bool) -> Report:
    """Blocking. The same of a volume in use, on a copy of its index; changes nothing.

    A file that came or went since the copy was made is no finding: rows are asked again by whoever calls this.
    """
    copy = Path(tempfile.mkdtemp(prefix="fsck-", dir=directory))
    try:
        copy_database(directory / "index.db", copy / "index.db")
        for folder in ("content", "staging", "incoming"):
            (copy / folder).symlink_to(directory / folder)
        return examine(volume, copy, device, repair=False, read_all=read_all)
    finally:
        shutil.rmtree(copy, ignore_errors=True)


def _examine(store: VolumeStore, device: DeviceId, scratch: Path, repair: bool, read_all: bool) -> Report:
    membership = _membership(store)
    case = Case(store, Report(repair), membership, membership.roles.get(device) in rules.WRITERS)
    check_credentials(case)
    check_authors(case)
    check_document(case)
    check_content(case, read_all)
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
    """What the readable credentials add up to."""
    merged = Credentials()
    for _kind, message in store.credentials():
        try:
            merged = rules.merge_credentials(merged, wire.decode_credentials(message))
        except Refused:
            continue
    return rules.resolve(store.volume, merged)
