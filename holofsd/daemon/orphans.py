# SPDX-License-Identifier: GPL-3.0-or-later
"""Folders under `volumes/` that `device.db` does not name: a crash in the middle of `create`, or a lost `device.db`.

What nobody can miss goes: a volume without a file, of which no other device is a member. Everything else is taken up
under a free name; what cannot be read stays where it is, and the log says so.
"""

from __future__ import annotations

import re
import shutil
import sqlite3
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

import structlog

from holofsd.codec.records import decode_volume
from holofsd.core.errors import HoloError, Refused
from holofsd.core.ids import DeviceId, VolumeId
from holofsd.core.members import resolve
from holofsd.daemon.names import free_name
from holofsd.store.volume import VolumeStore
from holofsd.sync.config import KEY_VOLUME
from holofsd.sync.stored_credentials import load_credentials

_log = structlog.get_logger(__name__)

_ID: Final = re.compile(r"[0-9a-f]{64}")
DELETING: Final = ".deleting"
"""A folder with this ending was left with `--delete`: a start that finds it goes on deleting."""


def finish_deleting(left: Path) -> None:
    for folder in left.glob(f"*{DELETING}"):
        shutil.rmtree(folder, ignore_errors=True)


def take_up(
    volumes: Path, known: Collection[VolumeId], names: Collection[str], device: DeviceId
) -> Iterator[tuple[VolumeId, str]]:
    """Blocking. Sweeps what is empty; (volume, name) of each that has to be written down again."""
    taken = set(names)
    for folder in sorted(volumes.iterdir()) if volumes.is_dir() else ():
        if not _ID.fullmatch(folder.name) or VolumeId(bytes.fromhex(folder.name)) in known:
            continue
        try:
            name = _look_at(folder, device)
        except (HoloError, OSError, sqlite3.Error) as error:
            _log.error("a folder of no volume cannot be read and stays", folder=folder.name[:8], why=str(error))
            continue
        if name is None:
            _log.warning("the rest of a volume that was never made is swept", folder=folder.name[:8])
            shutil.rmtree(folder, ignore_errors=True)
            continue
        name = free_name(name, taken)
        taken.add(name)
        _log.warning("a volume that was not written down is taken up", folder=folder.name[:8], called=name)
        yield VolumeId(bytes.fromhex(folder.name)), name


def _look_at(folder: Path, device: DeviceId) -> str | None:
    """Looks at a folder that no volume owns and returns the name of its volume; None if nothing in it can be missed."""
    if not (folder / "index.db").exists():
        if _has_files(folder):
            raise Refused("it has files and no index")
        return None
    store = VolumeStore(VolumeId(bytes.fromhex(folder.name)), folder)
    try:
        roles = resolve(store.volume, load_credentials(store)).roles
        if set(roles) <= {device} and not _has_nodes(store) and not _has_files(folder):
            return None
        return _name(store)
    finally:
        store.close()


def _has_nodes(store: VolumeStore) -> bool:
    return bool(store.nodes.count_below_root() or store.outbox.count())


def _has_files(folder: Path) -> bool:
    """Whether the folder has any file but the index itself."""
    return any(path.is_file() for path in folder.rglob("*") if not path.name.startswith("index.db"))


def _name(store: VolumeStore) -> str:
    found = []
    for record in store.documents.about(KEY_VOLUME):
        try:
            found.append(decode_volume(record.payload))
        except Refused:
            continue
    return max(found, key=lambda info: info.stamp).name if found else ""
