# SPDX-License-Identifier: GPL-3.0-or-later
"""Length of the fuzzing: the same examples each time in `scripts/test`, as many others in `scripts/soak fuzz`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog
from structlog.testing import LogCapture


@pytest.fixture(autouse=True)
def _no_defect_in_the_log() -> Iterator[None]:
    """Check of the log: input from outside may be noted, and never surprises; an error in the log is a defect."""
    before = structlog.get_config()["processors"]
    captured = LogCapture()
    structlog.configure(processors=[captured])
    yield
    structlog.configure(processors=before)
    defects = [entry for entry in captured.entries if entry["log_level"] in ("error", "critical", "exception")]
    assert not defects, defects[:3]
