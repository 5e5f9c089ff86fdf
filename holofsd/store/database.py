# SPDX-License-Identifier: GPL-3.0-or-later
"""One SQLite database in WAL mode, used from one thread, with transactions that nest."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from importlib import resources
from pathlib import Path
from typing import Any, Final

from holofsd.core.errors import DamagedIndex, NoSpace
from holofsd.store.threads import Pool, in_thread

Row = tuple[Any, ...]

_PAGES_AT_ONCE: Final = 256
"""Free pages given back in one transaction: some milliseconds."""
_WORTH_BYTES: Final = 64 << 20
"""Free pages of a database that are worth giving back, if they are a quarter of it too."""
_WORTH_IF_SHORT: Final = 1 << 20
"""As above, where the disk has little room left."""
INCREMENTAL: Final = 2
"""`auto_vacuum`: the file can get smaller bit by bit."""

LEAST_FREE: Final = 1 << 20
"""Bytes that opening a database needs: for its log, and the memory shared by its readers."""


def scripts(folder: str) -> list[str]:
    """The SQL of each format, oldest first: `folder` is one of this package, with files like `0002-history.sql`."""
    found = [path for path in resources.files(__package__).joinpath(folder).iterdir() if path.name.endswith(".sql")]
    return [path.read_text() for path in sorted(found, key=lambda path: path.name)]


def is_damage(error: BaseException) -> bool:
    """Whether SQLite says that the file is not what it wrote."""
    if not isinstance(error, sqlite3.DatabaseError):
        return False
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def is_full(error: BaseException) -> bool:
    """Whether the disk had no room, in either way in which that is told."""
    return isinstance(error, NoSpace) or (isinstance(error, sqlite3.OperationalError) and "full" in str(error))


def _is_full(path: Path) -> bool:
    found = os.statvfs(path.parent)
    return found.f_bavail * found.f_frsize < LEAST_FREE


def _is_worth(free: int, size: int, is_short: bool) -> bool:
    return free >= _WORTH_IF_SHORT if is_short else free >= max(_WORTH_BYTES, size // 4)


def compact_if_worth(path: Path) -> bool:
    """Makes a database of an earlier program, which cannot get smaller bit by bit, as small as it can be, and able to.
    Only where much of it is free and the disk has room for it. Blocking, a second per 100 MB; nobody has it open."""
    if not path.exists():
        return False
    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:

            def number(name: str) -> int:
                return int(connection.execute(f"PRAGMA {name}").fetchone()[0])

            page, free, pages = number("page_size"), number("freelist_count"), number("page_count")
            if number("auto_vacuum") == INCREMENTAL or not _is_worth(free * page, pages * page, is_short=False):
                return False
            found = os.statvfs(path.parent)
            if found.f_bavail * found.f_frsize < 3 * (pages - free) * page:  # copy, log, and the file itself
                return False
            connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            return True
    except sqlite3.Error:
        return False  # as it was: whoever opens it is told why


class Database:
    """A connection. `formats` are scripts: the first makes the database, each later one brings it from the format
    before to its own. A file that lacks the last ones gets them when it is opened.

    Raises DamagedIndex if the file is not a database, or of a format that this program does not know yet.
    """

    def __init__(self, path: Path, formats: Sequence[str]) -> None:
        self.path = path
        self._depth = 0
        self._before: list[Callable[[], None]] = []
        self._after: list[Callable[[], None]] = []
        self.on_rollback: list[Callable[[], None]] = []
        """Called after every transaction that failed: whoever caches rows forgets them."""
        self.on_damage: Callable[[str], None] = lambda complaint: None
        """Told, each time, when SQLite finds the file damaged."""
        try:
            self._connection = sqlite3.connect(path, isolation_level=None, cached_statements=512)
            self._prepare(formats)
        except sqlite3.DatabaseError as error:
            if _is_full(path):
                # SQLite calls it an I/O error, which sounds like damage.
                raise NoSpace("The disk that holds HoloFS's state is full: make room there, then try again.") from error
            raise DamagedIndex(f"The database {path.name} cannot be opened: {error}.") from error

    def _prepare(self, formats: Sequence[str]) -> None:
        run = self._connection.execute
        os.chmod(self.path, 0o600)
        if not run("PRAGMA page_count").fetchone()[0]:  # before the first page is written
            run("PRAGMA auto_vacuum=INCREMENTAL")
        run("PRAGMA journal_mode=WAL")
        # NORMAL: a commit survives kill -9 at once; sync() makes it survive power loss (I4 in docs/overview.md).
        run("PRAGMA synchronous=NORMAL")
        run("PRAGMA temp_store=MEMORY")
        run("PRAGMA cache_size=-16000")
        # A checkpoint waits for the disk, on the loop: at most once in 64 MiB of log (some 1,300 file creations).
        run("PRAGMA wal_autocheckpoint=16000")
        run("PRAGMA journal_size_limit=16777216")
        found = run("PRAGMA user_version").fetchone()[0]
        if found > len(formats):
            raise DamagedIndex(
                f"The database {self.path.name} has format {found}, this program knows up to {len(formats)}:"
                " use the program that wrote it."
            )
        for number, script in enumerate(formats[found:], start=found + 1):
            self._connection.executescript(f"BEGIN;{script};PRAGMA user_version={number};COMMIT;")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commits everything inside together, or not at all. An inner transaction joins the outer one.

        Never await inside: the connection is shared by the whole loop.
        """
        if self._depth:
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1
            return
        self._connection.execute("BEGIN IMMEDIATE")
        self._depth = 1
        try:
            yield
            while self._before:
                self._before.pop()()
            self._commit()
        except BaseException as error:
            self._roll_back()
            self._note_damage(error)
            raise
        finally:
            self._depth = 0
        after, self._after = self._after, []
        for callback in after:
            callback()

    def _roll_back(self) -> None:
        self._before.clear()
        self._after.clear()
        if self._connection.in_transaction:
            with suppress(sqlite3.DatabaseError):  # of a damaged file: the connection is closed soon
                self._connection.execute("ROLLBACK")
        for callback in self.on_rollback:
            callback()

    def _note_damage(self, error: BaseException) -> None:
        if is_damage(error):
            self.on_damage(str(error))

    def _commit(self) -> None:
        try:
            self._connection.execute("COMMIT")
        except sqlite3.OperationalError as error:
            if "full" in str(error):
                raise NoSpace("The disk that holds HoloFS's state is full: nothing was changed.") from error
            raise

    @property
    def in_transaction(self) -> bool:
        return self._depth > 0

    @property
    def changes(self) -> int:
        """Rows changed through this connection so far. A rollback takes rows back without counting."""
        return self._connection.total_changes

    def before_commit(self, callback: Callable[[], None]) -> None:
        """Run as the last part of the current transaction; forgotten if it fails. Only inside a transaction."""
        self._before.append(callback)

    def after_commit(self, callback: Callable[[], None]) -> None:
        """Run when the current transaction is committed (at once outside one); forgotten if it fails."""
        if self._depth:
            self._after.append(callback)
        else:
            callback()

    def run(self, sql: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        return self._connection.execute(sql, values)

    def run_many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        self._connection.executemany(sql, rows)

    def one(self, sql: str, values: Sequence[Any] = ()) -> Row | None:
        try:
            row: Row | None = self._connection.execute(sql, values).fetchone()
        except sqlite3.DatabaseError as error:
            self._note_damage(error)
            raise
        return row

    def all(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        try:
            return self._connection.execute(sql, values).fetchall()
        except sqlite3.DatabaseError as error:
            self._note_damage(error)
            raise

    def each(self, sql: str, values: Sequence[Any] = ()) -> Iterator[Row]:
        """One row after the other, where perhaps not all are needed. Nothing may be written meanwhile."""
        try:
            with closing(self._connection.execute(sql, values)) as cursor:
                yield from cursor
        except sqlite3.DatabaseError as error:
            self._note_damage(error)
            raise

    def number(self, sql: str, values: Sequence[Any] = ()) -> int:
        """The first column of the first row, 0 if there is none."""
        row = self._connection.execute(sql, values).fetchone()
        return int(row[0]) if row and row[0] is not None else 0

    # ---- getting smaller
    def bytes(self) -> int:
        """Size of the file, as far as it is committed."""
        return self.number("PRAGMA page_count") * self.number("PRAGMA page_size")

    def free_bytes(self) -> int:
        """Pages of the file that hold nothing."""
        return self.number("PRAGMA freelist_count") * self.number("PRAGMA page_size")

    def is_worth_shrinking(self, is_short: bool) -> bool:
        """Whether much of the file is free. `is_short`: the disk has little room left.

        A file of a program before format 0043 cannot; `compact_if_worth` sees to it at the next start.
        """
        if self.number("PRAGMA auto_vacuum") != INCREMENTAL:
            return False
        return _is_worth(self.free_bytes(), self.bytes(), is_short)

    def shrink(self) -> bool:
        """Gives some free pages back. False when none is left, or the file cannot get smaller. Not in a transaction."""
        before = self.number("PRAGMA freelist_count")
        if before:
            self._connection.execute(f"PRAGMA incremental_vacuum({_PAGES_AT_ONCE})").fetchall()
        return self.number("PRAGMA freelist_count") < before

    async def checkpoint(self) -> None:
        """Brings the log into the file, which then has the size it should. Off the loop; holds up nobody."""
        await in_thread(Pool.BACKGROUND, self._checkpoint)

    def _checkpoint(self) -> None:
        with closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    async def sync(self, pool: Pool) -> None:
        """Makes everything committed so far survive power loss, in a thread of that pool."""
        await in_thread(pool, self.sync_now)

    def sync_now(self) -> None:
        for path in (self.path.with_name(self.path.name + "-wal"), self.path):
            try:
                descriptor = os.open(path, os.O_RDONLY)
            except FileNotFoundError:
                continue
            try:
                os.fdatasync(descriptor)
            finally:
                os.close(descriptor)

    def close(self) -> None:
        self._connection.close()
