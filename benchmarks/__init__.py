# SPDX-License-Identifier: GPL-3.0-or-later
"""Measurements: what a person would feel, beside a bare baseline in the same run. `scripts/bench` is the way in."""
