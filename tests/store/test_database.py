# SPDX-License-Identifier: GPL-3.0-or-later
"""Transactions that nest, what is run around them, and databases that cannot be used."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from holofsd.core.errors import DamagedIndex
from holofsd.store.database import Database

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
    await db.sync()
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
