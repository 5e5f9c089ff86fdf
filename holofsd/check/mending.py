# SPDX-License-Identifier: GPL-3.0-or-later
"""The index itself: its backup, and a new one in the place of one that is damaged.

A new index is put together in `mending/`, which becomes `mended/` when it is whole, and then takes the place of the old
one, which is kept in `damaged-<n>/`. A crash before `mended/` leaves the old index; after it, the next start goes on.
`device.db` in the state directory is mended in the same way: hence the names of databases.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

from holofsd.check.document import NEW_AUTHOR
from holofsd.check.fsck import FileCheck, examine
from holofsd.check.salvaging import join_salvaged
from holofsd.core.errors import DamagedIndex
from holofsd.core.ids import BlobHash, DeviceId, VolumeId
from holofsd.store import faults
from holofsd.store.body_remaking import remake
from holofsd.store.content import hash_file
from holofsd.store.copies import complaint_about, copy_database, salvage, set_aside, sync_path
from holofsd.store.database import scripts
from holofsd.store.volume import VolumeStore

INDEX: Final = "index.db"
RESCUE: Final = "rescue"
"""Folder with what can be read of a damaged index, while it is served."""
_BACKUP: Final = "backup"
_MENDING: Final = "mending"
_MENDED: Final = "mended"
_INODES_SKIPPED: Final = 1_000_000
"""Inode numbers that the lost index may have given since its backup are not given again."""
REBUILT: Final = frozenset(
    (
        *("placements", "entries", "aliases", "overrides", "hidden_copies", "bad_names", "wanted", "pending_bodies"),
        *("inodes", "folded"),
    )
)
"""Tables of which nothing is lost with their rows: they are derived."""


# ---- backup
def backup_path(directory: Path, name: str = INDEX) -> Path:
    return directory / _BACKUP / name


def backup_time(directory: Path, name: str = INDEX) -> float:
    """Returns the time of the backup, seconds since the epoch; 0 if there is none."""
    try:
        return backup_path(directory, name).stat().st_mtime
    except OSError:
        return 0.0


def is_behind(directory: Path, name: str = INDEX) -> bool:
    """The index changed since its backup was made."""
    made = backup_time(directory, name)
    parts = (directory / name, directory / f"{name}-wal")
    return any(part.exists() and part.stat().st_mtime > made for part in parts)


def back_up(directory: Path, name: str = INDEX) -> None:
    """Blocking; the volume may be in use. Raises DamagedIndex if the index is damaged: the backup before stays."""
    complaint = complaint_about(directory / name)
    if complaint:
        raise DamagedIndex(complaint)
    target = backup_path(directory, name)
    target.parent.mkdir(mode=0o700, exist_ok=True)
    fresh = target.with_name(f"{name}.new")
    copy_database(directory / name, fresh)
    sync_path(fresh)
    faults.reach("backup.copied", directory)
    fresh.rename(target)
    sync_path(target.parent)


# ---- a new index
def finish(directory: Path, name: str = INDEX) -> None:
    """Goes on where a crash stopped a repair, and removes what a check left. Called before an index is opened."""
    for left in (directory / _MENDING, *directory.glob("fsck-*")):
        shutil.rmtree(left, ignore_errors=True)
    if (directory / _MENDED / name).exists():
        _put_in_place(directory, name)
    elif (directory / _MENDED).exists():
        shutil.rmtree(directory / _MENDED)


def restored(volume: VolumeId, directory: Path) -> list[str]:
    """The index from its backup, with all that can be read of the present one; a new author is needed from then on.

    Returns the staging files that neither knows, which are kept beside. Raises DamagedIndex if there is no backup.
    """
    backup = backup_path(directory)
    problem = complaint_about(backup) if backup.exists() else "there is none"
    if problem:
        raise DamagedIndex(
            f"The backup of the index cannot be used ({problem}): leaving the volume keeps the directory aside, and the"
            " volume can be joined again from another device."
        )
    work = _work_directory(directory)
    copy_database(backup, work / INDEX)
    with closing(VolumeStore(volume, work)) as store:
        join_salvaged(store, directory / INDEX)
        with store.db.transaction():
            store.set_meta(NEW_AUTHOR, b"\x01")
            store.db.run("UPDATE sqlite_sequence SET seq=seq+? WHERE name='inodes'", (_INODES_SKIPPED,))
        _list_content(store)
        with store.db.transaction():
            remake(store.bodies)
        strays = _unlisted_staging(store)
    replace(directory)
    return _kept(directory, strays)


def rebuilt(directory: Path) -> dict[str, str]:
    """The index anew from its own rows, where all that cannot be derived can be read: then nothing is lost.

    Returns, and does nothing, table -> complaint for tables that would lose rows.
    """
    work = _work_directory(directory)
    problems = salvage(directory / INDEX, work / INDEX, scripts("volume_formats"))
    lost = {table: problem for table, problem in problems.items() if table not in REBUILT}
    if lost:
        shutil.rmtree(work)
        return lost
    replace(directory)
    return {}


def readable(volume: VolumeId, directory: Path, device: DeviceId) -> Path:
    """A directory with what can be read of a damaged index, or else its backup, made whole as far as it goes: to look
    at, not to keep. Raises DamagedIndex if there is nothing."""
    forget_readable(directory)
    rescue = _linked_directory(directory, RESCUE)
    salvage(directory / INDEX, rescue / INDEX, scripts("volume_formats"))
    with closing(VolumeStore(volume, rescue)) as store:
        empty = store.db.number("SELECT count(*) FROM nodes") <= 1
    if empty:
        forget_readable(directory)
        if not backup_time(directory):
            # An empty folder would look as if everything had been removed.
            raise DamagedIndex("Nothing of the index can be read, and there is no backup of it.")
        rescue = _linked_directory(directory, RESCUE)
        copy_database(backup_path(directory), rescue / INDEX)
    examine(volume, rescue, device, repair=True, files=FileCheck.IGNORED)
    return rescue


def forget_readable(directory: Path) -> None:
    """Removes what `readable` made; nobody uses it any more."""
    shutil.rmtree(directory / RESCUE, ignore_errors=True)


def _work_directory(directory: Path) -> Path:
    finish(directory)
    return _linked_directory(directory, _MENDING)


def work_directory(directory: Path, name: str) -> Path:
    """An empty folder for a new database, which `replace` puts in the place of the old one."""
    finish(directory, name)
    work = directory / _MENDING
    work.mkdir(mode=0o700)
    return work


def _linked_directory(directory: Path, name: str) -> Path:
    """A folder for an index whose files are those of the volume."""
    work = directory / name
    work.mkdir(mode=0o700)
    for folder in ("content", "staging", "incoming", "segments", "lists"):
        (directory / folder).mkdir(mode=0o700, exist_ok=True)
        (work / folder).symlink_to(directory / folder)
    return work


def replace(directory: Path, name: str = INDEX) -> None:
    sync_path(directory / _MENDING / name)
    faults.reach("repairing.salvaged", directory)
    (directory / _MENDING).rename(directory / _MENDED)
    sync_path(directory)
    _put_in_place(directory, name)


def _put_in_place(directory: Path, name: str) -> None:
    mended = directory / _MENDED / name
    old = directory / name
    if old.exists():
        set_aside(old, _free_name(directory, "damaged"))
    faults.reach("repairing.aside", directory)
    mended.rename(old)
    sync_path(directory)
    faults.reach("repairing.placed", directory)
    shutil.rmtree(directory / _MENDED)


def _free_name(directory: Path, name: str) -> Path:
    number = 1
    while (found := directory / f"{name}-{number}").exists():
        number += 1
    return found


# ---- files that the restored index does not know
def _list_content(store: VolumeStore) -> None:
    """Content that came after the backup: taken if it is what its name says."""
    known = {row[0] for row in store.db.all("SELECT hash FROM content")}
    for path in _blobs(store.directory / "content"):
        blob = BlobHash(bytes.fromhex(path.name))
        if blob not in known:
            found, size = hash_file(path)
            if found == blob:
                store.db.run("INSERT OR IGNORE INTO content VALUES (?,?,0)", (blob, size))


def _blobs(root: Path) -> Iterator[Path]:
    for path in sorted(root.glob("??/*")):
        if len(path.name) == 64 and set(path.name) <= set("0123456789abcdef"):
            yield path


def _unlisted_staging(store: VolumeStore) -> list[str]:
    known = {row[0] for row in store.db.all("SELECT id FROM staging")}
    return sorted(name for name in os.listdir(store.directory / "staging") if name not in known)


def _kept(directory: Path, strays: list[str]) -> list[str]:
    """Moves staging files that no row names to a folder of their own, and returns where they are. Each may be
    all that is left of a file, so none is swept."""
    if not strays:
        return []
    folder = _free_name(directory, "unknown")
    folder.mkdir(mode=0o700)
    for name in strays:
        (directory / "staging" / name).rename(folder / name)
    return [str(folder / name) for name in strays]
