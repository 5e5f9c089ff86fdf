# SPDX-License-Identifier: GPL-3.0-or-later
"""Number of examples: `scripts/test` takes the same few each time, `scripts/soak fuzz` many, others with each seed."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings

FACTOR = int(os.environ.get("FUZZ_FACTOR", "0"))
"""0: the short form."""


def effort(examples: int) -> settings:
    """`examples` in the short form, so many times FACTOR in the long one."""
    return settings(
        max_examples=examples * (FACTOR or 1),
        derandomize=not FACTOR,
        database=None,
        deadline=None,
        phases=(Phase.explicit, Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
