# SPDX-License-Identifier: GPL-3.0-or-later
"""Devices on disks that fill up."""

from __future__ import annotations

from e2e.conftest import pytest_runtest_makereport, world

__all__ = ["pytest_runtest_makereport", "world"]
