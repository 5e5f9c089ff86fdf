# SPDX-License-Identifier: GPL-3.0-or-later
"""The same answers for less work, so that more seeds fit into an hour: what is the same in every run is done once."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from functools import lru_cache
from unittest.mock import patch

from holofsd.codec import signing
from holofsd.store.database import Database
from support import new_databases

_verify = lru_cache(maxsize=4096)(signing.verify)
"""Each device verifies what the others did."""


@contextlib.contextmanager
def cheaply() -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        stack.enter_context(patch.object(Database, "__init__", new_databases.make))
        stack.enter_context(patch.object(signing, "verify", _verify))
        # Of processes that are killed the kernel keeps everything: no crash here depends on it.
        for name in ("fsync", "fdatasync"):
            stack.enter_context(patch.object(os, name, lambda descriptor: None))
        yield
