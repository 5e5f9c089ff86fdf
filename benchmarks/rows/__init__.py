# SPDX-License-Identifier: GPL-3.0-or-later
"""The rows of the benchmark: what is measured, and what is asked of it. `docs/performance.md` says what bounds each."""

from __future__ import annotations

from typing import Final

from benchmarks.rows import apps, crowds, files, streams, syncing
from benchmarks.run import Row

ROWS: Final[tuple[Row, ...]] = (*streams.ROWS, *files.ROWS, *apps.ROWS, *syncing.ROWS, *crowds.ROWS)
