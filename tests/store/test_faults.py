# SPDX-License-Identifier: GPL-3.0-or-later
"""Fault points: off, armed by a test, armed by the environment."""

from __future__ import annotations

import subprocess
import sys
import threading
import timeit
from pathlib import Path

import pytest

from holofsd.core.errors import BadConfiguration
from holofsd.store import faults
from support.sources import ROOT


def test_a_point_that_is_off_costs_next_to_nothing() -> None:
    assert timeit.timeit(lambda: faults.reach("hashing.placed"), number=100_000) < 0.5


def test_an_armed_point_tells_where_and_is_off_again_afterwards() -> None:
    seen: list[object] = []
    with faults.armed("hashing.placed", seen.append):
        faults.reach("hashing.placed", "here")
        faults.reach("hashing.known", "elsewhere")
    faults.reach("hashing.placed", "later")
    assert seen == ["here"]


def test_a_gate_holds_whoever_comes_until_it_is_opened() -> None:
    gate = faults.Gate()
    passed = threading.Event()

    def go() -> None:
        faults.reach("hashing.placed")
        passed.set()

    with faults.armed("hashing.placed", gate):
        thread = threading.Thread(target=go)
        thread.start()
        assert gate.reached.wait(10)
        assert not passed.is_set()
        gate.open()
        assert passed.wait(10)
        thread.join(10)


@pytest.mark.parametrize(
    "order", ["hashing.never=kill", "hashing.placed", "hashing.placed=burn", "hashing.placed=kill@x"]
)
def test_an_order_that_makes_no_sense_is_refused(order: str) -> None:
    with pytest.raises(BadConfiguration):
        faults.arm_from({faults.VARIABLE: order})


def test_a_process_is_killed_at_the_time_that_it_was_told() -> None:
    program = (
        "from holofsd.store import faults; import os\n"
        "faults.arm_from(os.environ)\n"
        "for number in range(1, 9):\n"
        "    print(number, flush=True)\n"
        "    faults.reach('hashing.placed')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={faults.VARIABLE: "hashing.placed=kill@3", "PYTHONPATH": f"{ROOT}:{ROOT / 'proto'}"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == -9
    assert done.stdout.split() == [b"1", b"2", b"3"]


def test_the_order_can_come_from_a_file_while_the_process_runs(tmp_path: Path) -> None:
    program = (
        "from holofsd.store import faults; import os, pathlib\n"
        "faults.arm_from(os.environ)\n"
        "for order in ('', 'hashing.known=kill', 'hashing.placed=kill@2', 'hashing.placed=kill@3'):\n"
        "    pathlib.Path(os.environ['HOLOFS_FAULTS']).write_text(order)\n"
        "    faults.reach('hashing.placed'); print(order, flush=True)\n"
        "while True: faults.reach('hashing.placed'); print('again', flush=True)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"HOLOFS_FAULTS": str(tmp_path / "order"), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=False,
    )
    assert done.returncode == -9
    assert done.stdout.splitlines()[-2:] == [b"hashing.placed=kill@3", b"again"]
