# SPDX-License-Identifier: GPL-3.0-or-later
"""A database whose disk is full at the moment at which a transaction commits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from holofsd.core.errors import NoSpace
from holofsd.store.database import Database


@contextmanager
def full(*databases: Database) -> Iterator[None]:
    def refuse() -> None:
        raise NoSpace("The disk that holds HoloFS's state is full: nothing was changed.")

    commits = [database._commit for database in databases]
    for database in databases:
        database._commit = refuse  # type: ignore[method-assign]
    try:
        yield
    finally:
        for database, commit in zip(databases, commits, strict=True):
            database._commit = commit  # type: ignore[method-assign]
