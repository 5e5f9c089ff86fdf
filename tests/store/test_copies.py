# SPDX-License-Identifier: GPL-3.0-or-later
"""Whole databases: sound or not, copied while in use, and read as far as it goes."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from holofsd.core.errors import DamagedIndex, NoSpace
from holofsd.store.copies import complaint_about, copy_database, rows_of, salvage, set_aside
from holofsd.store.database import Database

FORMAT = "CREATE TABLE things (k BLOB PRIMARY KEY, v BLOB, w BLOB) WITHOUT ROWID; CREATE INDEX by_v ON things (v)"
ROWS = 4000


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    path = tmp_path / "filled.db"
    with closing(Database(path, [FORMAT])) as db, db.transaction():
        db.run_many(
            "INSERT INTO things VALUES (?,?,NULL)", [(n.to_bytes(4, "big"), os.urandom(100)) for n in range(ROWS)]
        )
    return path


def _spoil(path: Path, share: float) -> None:
    """A page about that far into the table becomes rubbish."""
    with closing(sqlite3.connect(path)) as db:
        pages = [
            row[0]
            for row in db.execute("SELECT pageno FROM dbstat WHERE name='things' AND pagetype='leaf' ORDER BY path")
        ]
        size = db.execute("PRAGMA page_size").fetchone()[0]
    with path.open("r+b") as file:
        file.seek((pages[int(len(pages) * share)] - 1) * size)
        file.write(b"\xff" * size)


def test_a_sound_database_has_no_complaint_and_a_damaged_one_has(filled: Path) -> None:
    assert complaint_about(filled) == ""
    _spoil(filled, 0.5)
    assert complaint_about(filled)
    filled.write_bytes(b"no database at all " * 1000)
    assert "not a database" in complaint_about(filled)


def test_a_copy_made_while_somebody_writes_is_one_moment_of_it(filled: Path, tmp_path: Path) -> None:
    with closing(Database(filled, [FORMAT])) as db:
        with db.transaction():
            db.run("DELETE FROM things WHERE k<?", (b"\0\0\1\0",))
        with db.transaction():
            db.run("DELETE FROM things")
            copy_database(filled, tmp_path / "copy.db")
    with closing(Database(tmp_path / "copy.db", [FORMAT])) as copy:
        assert copy.number("SELECT count(*) FROM things") == ROWS - 256
    assert complaint_about(tmp_path / "copy.db") == ""


def test_a_damaged_database_gives_no_copy(filled: Path, tmp_path: Path) -> None:
    _spoil(filled, 0.5)
    with pytest.raises(DamagedIndex):
        copy_database(filled, tmp_path / "copy.db")
    assert not (tmp_path / "copy.db").exists()


def test_both_sides_of_a_damaged_place_can_be_read(filled: Path, tmp_path: Path) -> None:
    _spoil(filled, 0.5)
    rows, problem = rows_of(filled, "things", ["k", "v", "w"])
    assert problem
    assert ROWS - 100 < len(rows) < ROWS
    everything, problem = rows_of(filled, "things", ["k", "v"])
    assert (len(everything), problem) == (ROWS, ""), "an index that is whole has them all"
    problems = salvage(filled, tmp_path / "saved.db", [FORMAT])
    assert list(problems) == ["things"]
    with closing(Database(tmp_path / "saved.db", [FORMAT])) as saved:
        assert saved.number("SELECT count(*) FROM things") == len(rows)


def test_whoever_uses_a_database_hears_of_damage(filled: Path) -> None:
    _spoil(filled, 0.5)
    heard: list[str] = []
    with closing(Database(filled, [FORMAT])) as db:
        db.on_damage = heard.append
        with pytest.raises(sqlite3.DatabaseError):
            db.all("SELECT * FROM things")
        assert len(heard) == 1
        with pytest.raises(sqlite3.DatabaseError), db.transaction():
            db.run("UPDATE things SET v=x''")
        assert len(heard) == 2
        assert not db.in_transaction


def test_a_database_goes_aside_with_its_log(filled: Path, tmp_path: Path) -> None:
    with closing(Database(filled, [FORMAT])) as db, db.transaction():
        db.run("DELETE FROM things WHERE k<?", (b"\0\0\1\0",))
        set_aside(filled, tmp_path / "aside")
        assert not list(tmp_path.glob("filled.db*"))
    assert (tmp_path / "aside" / "filled.db").exists()


def test_a_copy_that_finds_no_room_is_no_damage(filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(NoSpace):
        copy_database(filled, tmp_path / "copy.db")
    assert not (tmp_path / "copy.db").exists()


def test_a_database_that_cannot_be_opened_is_no_damage(filled: Path, tmp_path: Path) -> None:
    assert complaint_about(tmp_path / "nothing here.db") == ""
    with pytest.raises(OSError, match="copied now"):
        copy_database(tmp_path / "nothing here.db", tmp_path / "copy.db")
