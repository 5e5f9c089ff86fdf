# SPDX-License-Identifier: GPL-3.0-or-later
"""Databases as the program makes them: by all scripts, one after the other."""

from __future__ import annotations

import pytest

from holofsd.store.database import Database
from support.new_databases import make_by_scripts


@pytest.fixture(autouse=True)
def _by_scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Database, "__init__", make_by_scripts)
