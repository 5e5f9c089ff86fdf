# SPDX-License-Identifier: GPL-3.0-or-later
"""Whole databases: is one sound, a consistent copy of one in use, and what can still be read of a damaged one.

Each function blocks and makes connections of its own: call it in a thread. None waits for, or holds up, whoever
writes at the same time (WAL).
"""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from holofsd.core.errors import DamagedIndex, NoSpace
from holofsd.store.database import Database, is_damage

_BATCH: Final = 500
_ROOM: Final = 32 << 20
"""Bytes that a copy leaves free on the disk."""
_NO_ROOM: Final = "There is not enough room on the disk for a copy of the index: make room there, then try again."
_UNREADABLE: Final = (sqlite3.SQLITE_IOERR_READ, sqlite3.SQLITE_IOERR_SHORT_READ, sqlite3.SQLITE_IOERR_CORRUPTFS)
_TAILS: Final = ("", "-wal", "-shm")


def _reading(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, isolation_level=None)
    connection.execute("PRAGMA busy_timeout=10000")
    return connection


def _tells_of_damage(error: sqlite3.DatabaseError) -> bool:
    """Not of a full disk, or a lock."""
    return is_damage(error) or getattr(error, "sqlite_errorcode", 0) in _UNREADABLE


def complaint_about(path: Path) -> str:
    """Checks a database with SQLite and returns its complaint; empty if there is none. Reads every page once.

    A database that cannot be looked at for another reason (a full disk) has no complaint: whoever opens it is told.
    """
    try:
        with closing(_reading(path)) as connection:
            verdict = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
    except sqlite3.DatabaseError as error:
        return str(error) if _tells_of_damage(error) else ""
    return "" if verdict == "ok" else " ".join(verdict.split())


def copy_database(source: Path, target: Path) -> None:
    """A consistent copy of a database that may be in use. Raises DamagedIndex if the source cannot be read whole, or
    the copy is not sound; NoSpace; OSError if it cannot be made now for another reason."""
    size = sum(_size(source.with_name(source.name + tail)) for tail in ("", "-wal"))
    if shutil.disk_usage(target.parent).free < size + _ROOM:
        raise NoSpace(_NO_ROOM)
    target.unlink(missing_ok=True)
    try:
        with closing(_reading(source)) as connection:
            connection.execute("VACUUM INTO ?", (str(target),))
        os.chmod(target, 0o600)
        with closing(_reading(target)) as copy:
            verdict = str(copy.execute("PRAGMA integrity_check(1)").fetchone()[0])
    except sqlite3.DatabaseError as error:
        target.unlink(missing_ok=True)
        if _tells_of_damage(error):
            raise DamagedIndex(f"The index cannot be read whole: {error}.") from error
        if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_FULL:
            raise NoSpace(_NO_ROOM) from error
        raise OSError(errno.EIO, f"the index cannot be copied now: {error}") from error
    if verdict != "ok":
        target.unlink(missing_ok=True)
        raise DamagedIndex(f"A copy of the index is not sound: {verdict}.")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def sync_path(path: Path) -> None:
    """A file or directory is on disk when this returns."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def set_aside(database: Path, folder: Path) -> None:
    """Moves a database with its log into a folder, which is made."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    # The log first: a database without its log would look older, a log without its database is nothing.
    for tail in reversed(_TAILS):
        part = database.with_name(database.name + tail)
        if part.exists():
            part.rename(folder / part.name)
    sync_path(folder)
    sync_path(database.parent)


# ---- what can still be read
def rows_of(path: Path, table: str, columns: Sequence[str]) -> tuple[list[tuple[Any, ...]], str]:
    """Every row of a table that can be read, and the complaint that stopped the reading (empty: these are all).

    Read as SQLite likes, which may be from an index; then in order of the key, from both ends: so both sides of a place
    that is damaged.
    """
    query = f"SELECT {', '.join(columns)} FROM {table}"
    try:
        with closing(_reading(path)) as connection:
            rows, problem = _read(connection, query)
            if problem:
                for order in _orders(connection, table):
                    more, why = _read(connection, query + order)
                    if not why:
                        return more, ""
                    rows = list(dict.fromkeys([*rows, *more]))
            return rows, problem
    except sqlite3.DatabaseError as error:
        return [], str(error)


def _read(connection: sqlite3.Connection, query: str) -> tuple[list[tuple[Any, ...]], str]:
    rows: list[tuple[Any, ...]] = []
    try:
        for row in connection.execute(query):
            rows.append(row)
    except sqlite3.DatabaseError as error:
        return rows, str(error)
    return rows, ""


def _orders(connection: sqlite3.Connection, table: str) -> list[str]:
    columns = sorted((row[5], row[1]) for row in connection.execute(f"PRAGMA table_info({table})"))
    keys = [name for place, name in columns if place]
    return [f" ORDER BY {', '.join(f'{key} {way}' for key in keys)}" for way in ("ASC", "DESC")] if keys else []


def salvage(source: Path, target: Path, formats: Sequence[str]) -> dict[str, str]:
    """A new database with every row that can be read of the source. Returns table -> complaint, for each table that
    could not be read whole."""
    target.unlink(missing_ok=True)
    fresh = Database(target, formats)
    problems: dict[str, str] = {}
    try:
        for table, columns in _tables(fresh):
            rows, problem = rows_of(source, table, columns)
            if problem:
                problems[table] = problem
            marks = ", ".join("?" * len(columns))
            for part in _parts(rows):
                with fresh.transaction():
                    fresh.run_many(f"INSERT OR IGNORE INTO {table} ({', '.join(columns)}) VALUES ({marks})", part)
        return problems
    finally:
        fresh.close()


def _tables(database: Database) -> list[tuple[str, list[str]]]:
    names = database.all("SELECT name FROM sqlite_schema WHERE type='table' AND name NOT LIKE 'sqlite_%'")
    return [(name, [row[1] for row in database.all(f"PRAGMA table_info({name})")]) for (name,) in names]


def _parts(rows: list[tuple[Any, ...]]) -> Iterator[list[tuple[Any, ...]]]:
    for start in range(0, len(rows), _BATCH):
        yield rows[start : start + _BATCH]
