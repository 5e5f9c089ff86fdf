# SPDX-License-Identifier: GPL-3.0-or-later
"""Transactions that nest, what is run around them, and databases that cannot be used."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from holofsd.core.errors import DamagedIndex
from holofsd.store.database import Database, compact_if_worth
from holofsd.store.threads import Pool

SCHEMA = "CREATE TABLE t (x INTEGER);"


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path / "test.db", [SCHEMA])
    yield database
    database.close()


def test_a_transaction_is_all_or_nothing(db: Database) -> None:
    with db.transaction():
        db.run("INSERT INTO t VALUES (1)")
    with pytest.raises(ZeroDivisionError), db.transaction():
        db.run("INSERT INTO t VALUES (2)")
        raise ZeroDivisionError
    assert db.all("SELECT x FROM t") == [(1,)]


def test_an_inner_transaction_is_part_of_the_outer_one(db: Database) -> None:
    with pytest.raises(ZeroDivisionError), db.transaction():
        with db.transaction():
            db.run("INSERT INTO t VALUES (1)")
        assert db.in_transaction
        raise ZeroDivisionError
    assert not db.in_transaction
    assert db.number("SELECT count(*) FROM t") == 0


def test_callbacks_run_before_and_after_the_outermost_commit(db: Database) -> None:
    order: list[str] = []
    with db.transaction():
        with db.transaction():
            db.after_commit(lambda: order.append(f"after {db.number('SELECT count(*) FROM t')}"))
            db.before_commit(lambda: _insert_and_say(db, order))
        order.append("inside")
    assert order == ["inside", "before", "after 1"]


def _insert_and_say(db: Database, order: list[str]) -> None:
    db.run("INSERT INTO t VALUES (1)")
    order.append("before")


def test_callbacks_of_a_failed_transaction_are_forgotten_and_caches_told(db: Database) -> None:
    order: list[str] = []
    db.on_rollback.append(lambda: order.append("rollback"))
    with pytest.raises(ZeroDivisionError), db.transaction():
        db.after_commit(lambda: order.append("after"))
        db.before_commit(lambda: order.append("before"))
        raise ZeroDivisionError
    with db.transaction():
        db.run("INSERT INTO t VALUES (1)")
    assert order == ["rollback"]


def test_outside_a_transaction_after_commit_runs_at_once(db: Database) -> None:
    ran: list[int] = []
    db.after_commit(lambda: ran.append(1))
    assert ran == [1]


def test_what_is_committed_survives_losing_the_process(db: Database, tmp_path: Path) -> None:
    with db.transaction():
        db.run("INSERT INTO t VALUES (1)")
    copy = tmp_path / "copy.db"
    for suffix in ("", "-wal"):
        copy.with_name(copy.name + suffix).write_bytes(db.path.with_name(db.path.name + suffix).read_bytes())
    again = Database(copy, [SCHEMA])
    assert again.all("SELECT x FROM t") == [(1,)]
    again.close()


async def test_syncing_leaves_the_data_in_place(db: Database) -> None:
    with db.transaction():
        db.run("INSERT INTO t VALUES (1)")
    await db.sync(Pool.FOREGROUND)
    assert db.number("SELECT x FROM t") == 1


def test_a_file_that_is_no_database_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "bad.db").write_bytes(b"not a database, but long enough to be taken for one" * 100)
    with pytest.raises(DamagedIndex):
        Database(tmp_path / "bad.db", [SCHEMA])


def test_a_newer_format_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    newer = [SCHEMA, "CREATE TABLE u (y INTEGER)"]
    Database(tmp_path / "new.db", newer).close()
    with pytest.raises(DamagedIndex, match="format 2"):
        Database(tmp_path / "new.db", [SCHEMA])
    Database(tmp_path / "new.db", newer).close()


def test_an_older_format_is_brought_up_to_date_with_what_it_holds(tmp_path: Path) -> None:
    old = Database(tmp_path / "old.db", [SCHEMA])
    with old.transaction():
        old.run("INSERT INTO t VALUES (7)")
    old.close()
    new = Database(tmp_path / "old.db", [SCHEMA, "ALTER TABLE t ADD COLUMN y INTEGER NOT NULL DEFAULT 5"])
    assert new.all("SELECT x, y FROM t") == [(7, 5)]
    new.close()


def test_a_format_that_fails_half_way_leaves_the_one_before(tmp_path: Path) -> None:
    Database(tmp_path / "old.db", [SCHEMA]).close()
    with pytest.raises(DamagedIndex):
        Database(tmp_path / "old.db", [SCHEMA, "CREATE TABLE u (y INTEGER); SELECT nothing FROM nowhere"])
    again = Database(tmp_path / "old.db", [SCHEMA])
    assert again.all("SELECT name FROM sqlite_master WHERE name = 'u'") == []
    again.close()


def test_only_the_owner_can_read_it(db: Database) -> None:
    assert db.path.stat().st_mode & 0o777 == 0o600


def filled(db: Database, rows: int, size: int = 1 << 20) -> None:
    with db.transaction():
        db.run("CREATE TABLE IF NOT EXISTS large (x BLOB)")
        for _ in range(rows):
            db.run("INSERT INTO large VALUES (zeroblob(?))", (size,))


async def test_a_database_gets_smaller_bit_by_bit_once_much_of_it_is_free(db: Database, tmp_path: Path) -> None:
    filled(db, 100)
    with db.transaction():
        db.run("DELETE FROM large WHERE rowid % 100 != 0")
    assert db.is_worth_shrinking(is_short=False)
    pages = []
    while db.shrink():
        pages.append(db.number("PRAGMA freelist_count"))
        with db.transaction():  # others write meanwhile
            db.run("INSERT INTO t VALUES (7)")
    assert len(pages) > 50, "in small steps"
    await db.checkpoint()
    assert (tmp_path / "test.db").stat().st_size < 4 << 20
    assert not db.is_worth_shrinking(is_short=True)
    assert db.number("SELECT length(x) FROM large") == 1 << 20
    assert db.one("PRAGMA integrity_check") == ("ok",)


def test_a_little_that_is_free_stays_unless_the_disk_is_short(db: Database) -> None:
    filled(db, 20)
    with db.transaction():
        db.run("DELETE FROM large")
    assert not db.is_worth_shrinking(is_short=False)
    assert db.is_worth_shrinking(is_short=True)


def of_a_former_program(path: Path, rows: int) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as old:
        old.execute("PRAGMA journal_mode=WAL")
        old.execute("CREATE TABLE t (x BLOB)")
        old.execute("PRAGMA user_version=1")
        for _ in range(rows):
            old.execute("INSERT INTO t VALUES (zeroblob(1048576))")
        old.execute("DELETE FROM t WHERE rowid > 1")


def test_a_database_of_a_former_program_is_made_smaller_at_the_start_and_can_get_smaller_then(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    of_a_former_program(path, 80)
    database = Database(path, [SCHEMA])
    assert not database.is_worth_shrinking(is_short=True)
    assert not database.shrink()
    database.close()
    assert compact_if_worth(path)
    assert path.stat().st_size < 4 << 20
    assert not compact_if_worth(path), "once"
    database = Database(path, [SCHEMA])
    assert database.number("SELECT count(*) FROM t") == 1
    filled(database, 80)
    with database.transaction():
        database.run("DELETE FROM large")
    assert database.is_worth_shrinking(is_short=False)
    assert database.shrink()
    database.close()


def test_a_database_that_is_mostly_in_use_or_damaged_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    of_a_former_program(path, 10)
    before = path.stat().st_size
    assert not compact_if_worth(path)
    assert path.stat().st_size == before
    path.write_bytes(b"no database" * 1000)
    assert not compact_if_worth(path)
    assert path.read_bytes() == b"no database" * 1000
    assert not compact_if_worth(tmp_path / "missing.db")
