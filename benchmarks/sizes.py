# SPDX-License-Identifier: GPL-3.0-or-later
"""Sizes of each row: in full, quickly, and so little that a test can run it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sizes:
    name: str
    rounds: int
    """Rounds of rows that compare mounts."""
    sync_rounds: int
    """Rounds of rows that compare ways of synchronising: some of those take their time."""
    alone: bool
    """Fresh devices and baselines for each row; else rows of one group share them, which saves their starts."""
    big_mib: int
    small_files: int
    folders: int
    """Folders of the tree that is listed; each holds as many files as there are folders."""
    repository_files: int
    photos: int
    latencies: int
    synced_files: int
    line_mib: int
    """One file over a bad line."""
    line_files: int
    """Files of 8 kB over a bad line."""
    far_mib: int
    """One file over the worst line."""
    tree_files: int
    """Files of the standard library; 0: all."""
    levels: tuple[int, int, int]
    """Files present in the three volumes of `scale`; the last one is that of `memory` and `start`."""
    probed: int
    """Files that `scale` creates at each level."""
    rest_s: float
    """A daemon is at rest after that."""


FULL = Sizes(
    name="full",
    rounds=5,
    sync_rounds=5,
    alone=True,
    big_mib=512,
    small_files=2000,
    folders=100,
    repository_files=2400,
    photos=120,
    latencies=200,
    synced_files=10_000,
    line_mib=32,
    line_files=1000,
    far_mib=8,
    tree_files=0,
    levels=(1_000, 10_000, 100_000),
    probed=500,
    rest_s=30.0,
)
QUICK = Sizes(
    name="quick",
    rounds=2,
    sync_rounds=1,
    alone=False,
    big_mib=96,
    small_files=300,
    folders=20,
    repository_files=120,
    photos=8,
    latencies=30,
    synced_files=500,
    line_mib=4,
    line_files=50,
    far_mib=1,
    tree_files=150,
    levels=(200, 1_000, 5_000),
    probed=50,
    rest_s=3.0,
)
TINY = Sizes(
    name="tiny",
    rounds=1,
    sync_rounds=1,
    alone=False,
    big_mib=2,
    small_files=10,
    folders=3,
    repository_files=12,
    photos=2,
    latencies=3,
    synced_files=10,
    line_mib=1,
    line_files=10,
    far_mib=1,
    tree_files=20,
    levels=(10, 20, 30),
    probed=5,
    rest_s=0.1,
)
