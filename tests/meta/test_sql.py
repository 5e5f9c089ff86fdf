# SPDX-License-Identifier: GPL-3.0-or-later
"""SQL stands in `holofsd/store` and `holofsd/check` alone. Elsewhere, it is a named method of a store class."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from support.sources import Module, product_modules

ROOMS = ("holofsd.store", "holofsd.check")
STATEMENT = re.compile(r"\b(SELECT|INSERT|UPDATE|DELETE|REPLACE|PRAGMA|VACUUM)\b|[=<>]\?")
"""Keywords in capitals, and a comparison with a value that is filled in."""
RUNS = {"run", "run_many", "one", "all", "each", "number", "execute", "executemany", "executescript"}
DATABASES = {"db", "_db", "connection", "_connection"}


def sql_in(module: Module) -> Iterator[int]:
    """Yields the lines of a module that have a piece of SQL, or run some on a database."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and STATEMENT.search(node.value):
            yield node.lineno
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in RUNS:
            of = node.func.value
            name = of.attr if isinstance(of, ast.Attribute) else of.id if isinstance(of, ast.Name) else ""
            if name in DATABASES:
                yield node.lineno


def test_sql_is_the_business_of_the_store_and_of_fsck() -> None:
    outside = [module for module in product_modules() if not module.name.startswith(ROOMS)]
    found = [f"{module.path}:{line}" for module in outside for line in sql_in(module)]
    assert not found, found


@pytest.mark.parametrize(
    ("source", "is_sql"),
    [
        ("self._store.db.run(statement)", True),
        ("db.all(name, (1,))", True),
        ('f"DELETE FROM {table}"', True),
        ('which = "q.key!=?"', True),
        ("with self._db.transaction(): pass", False),
        ("all(found)", False),
        ('"Select a file, then delete it."', False),
    ],
)
def test_a_piece_of_sql_is_known(source: str, is_sql: bool) -> None:
    assert bool(list(sql_in(Module.parse(source, "x")))) is is_sql
