# SPDX-License-Identifier: GPL-3.0-or-later
"""The rows of the benchmark: what is measured, and what is asked of it. `docs/performance.md` says what bounds each."""

from __future__ import annotations

from typing import Final

from benchmarks.rows.apps import ROWS as APPS
from benchmarks.rows.crowds import ROWS as CROWDS
from benchmarks.rows.files import ROWS as FILES
from benchmarks.rows.imports import ROWS as IMPORTS
from benchmarks.rows.lines import ROWS as LINES
from benchmarks.rows.streams import ROWS as STREAMS
from benchmarks.rows.syncing import ROWS as SYNCING
from benchmarks.run import Row

ROWS: Final[tuple[Row, ...]] = (*STREAMS, *FILES, *APPS, *IMPORTS, *SYNCING, *LINES, *CROWDS)
