# SPDX-License-Identifier: GPL-3.0-or-later
"""New databases of tests: copies of one that was made by its scripts, which takes ten times as long as a copy."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from holofsd.store.database import Database

make_by_scripts = Database.__init__


@cache
def _empty(formats: tuple[str, ...]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "empty.db"
        made = Database.__new__(Database)
        make_by_scripts(made, path, formats)
        made.close()  # which moves the log into the file
        return path.read_bytes()


def make(self: Database, path: Path, formats: Sequence[str]) -> None:
    """Takes the place of `Database.__init__`. A database that is there is opened as always."""
    if not path.exists():
        path.write_bytes(_empty(tuple(formats)))
    make_by_scripts(self, path, formats)
