# SPDX-License-Identifier: GPL-3.0-or-later
"""The same answers for less work, so that more seeds fit into an hour: what is the same in every run is done once."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from functools import cache, lru_cache
from pathlib import Path
from unittest.mock import patch

from holofsd.codec import signing
from holofsd.store.database import Database

_make = Database.__init__
_verify = lru_cache(maxsize=4096)(signing.verify)
"""Each device verifies what the others did."""


@cache
def _empty(formats: tuple[str, ...]) -> bytes:
    """A new database, which takes its scripts ten times as long as copying it does."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "empty.db"
        made = Database.__new__(Database)
        _make(made, path, formats)
        made.close()  # which moves the log into the file
        return path.read_bytes()


def _open(self: Database, path: Path, formats: Sequence[str]) -> None:
    if not path.exists():
        path.write_bytes(_empty(tuple(formats)))
    _make(self, path, formats)


@contextlib.contextmanager
def cheaply() -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        stack.enter_context(patch.object(Database, "__init__", _open))
        stack.enter_context(patch.object(signing, "verify", _verify))
        # Of processes that are killed the kernel keeps everything: no crash here depends on it.
        for name in ("fsync", "fdatasync"):
            stack.enter_context(patch.object(os, name, lambda descriptor: None))
        yield
