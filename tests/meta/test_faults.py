# SPDX-License-Identifier: GPL-3.0-or-later
"""Crash windows, as documented, as named in the code, and as reached by it: three lists that are one."""

from __future__ import annotations

import re
import subprocess
import sys

from holofsd.store.faults import POINTS
from support.sources import ROOT, product_modules

REACHED = re.compile(r"faults\.reach\((?P<arguments>[^)]*)\)")
NAME = re.compile(r'"([a-z]+\.[a-z]+)"')


def _documented() -> list[str]:
    tables = (ROOT / "docs" / "crash-windows.md").read_text()
    found: list[str] = []
    column = 0
    for line in tables.splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if "fault point" in cells:
            column = cells.index("fault point")
        elif column and line.startswith("|") and not line.startswith("|---"):
            found.append(cells[column])
        elif not line.startswith("|"):
            column = 0
    return found


def test_every_table_of_crash_windows_has_a_column_of_fault_points() -> None:
    tables = (ROOT / "docs" / "crash-windows.md").read_text()
    assert tables.count("\n|---|") == tables.count("| fault point |")


def test_the_documented_fault_points_are_those_of_the_code_each_once() -> None:
    named = [cell.strip("`") for cell in _documented() if cell != "–"]
    assert sorted(named) == sorted(POINTS)


def test_every_fault_point_is_reached_somewhere_and_no_other() -> None:
    reached = {
        name
        for module in product_modules("holofsd")
        for call in REACHED.finditer(module.source)
        for name in NAME.findall(call["arguments"])
    }
    assert reached == POINTS


def test_a_fault_point_that_nobody_knows_is_refused_at_the_start_of_the_daemon(tmp_path: object) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "holofsd.daemon.main", "--state-dir", str(tmp_path)],
        env={"HOLOFS_FAULTS": "hashing.never=kill", "PYTHONPATH": f"{ROOT}:{ROOT / 'proto'}"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 2
    assert b"no fault point 'hashing.never'" in done.stderr
