# SPDX-License-Identifier: GPL-3.0-or-later
"""Place at which metrics are served."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MetricsPlace:
    """Port of the metrics, as `status` tells it."""

    port: int = 0
    """0: nowhere."""
    problem: str = ""
    """Why not, although they were asked for: a sentence."""
