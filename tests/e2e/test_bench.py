# SPDX-License-Identifier: GPL-3.0-or-later
"""The benchmark runs: tiny amounts, beside the one baseline that needs nothing installed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.processes import mounts_below, processes_of, sweep
from support.sources import ROOT
from support.wait import until


@pytest.fixture
def place() -> Iterator[Path]:
    """Folder of the benchmark's files. Short, because sockets lie below it."""
    path = Path(tempfile.mkdtemp(prefix="hfs-"))
    yield path
    sweep(path)


def _begin(place: Path, *arguments: str) -> subprocess.Popen[str]:
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks.main", "--tiny", *arguments],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(place), "PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def _is_clean(place: Path) -> bool:
    return not processes_of(place) and not mounts_below(place) and not list(place.iterdir())


def test_rows_are_measured_beside_the_bare_binding_and_compared_with_what_was_written(place: Path) -> None:
    rows = ("seq-write", "create", "stat-warm", "latency")
    out, err = _begin(place, *rows, "--against", "bare", "--json").communicate(timeout=120)
    told = json.loads(out)
    assert told["not_measured"] == [], err
    assert told["wrong"] == []
    figures = {found["name"]: found for found in told["outcomes"]}
    assert {*figures} == {"seq-write", "create", "stat-cold", "stat-warm", "latency p50", "latency p99"}
    assert figures["create"]["against"]["bare"]["asked"]["bound"] == 0.5
    assert figures["create"]["against"]["bare"]["ratio"]["middle"] > 0
    assert figures["latency p50"]["ours"]["samples"] == 3
    until(lambda: _is_clean(place), "everything to be gone")


def test_an_interrupted_run_says_what_it_knows_and_leaves_nothing(place: Path) -> None:
    # Long enough to be met in it.
    running = _begin(place, "create", "remove", "--against", "bare", "--rounds", "500", "--json")
    until(lambda: mounts_below(place), "something to be mounted")
    os.killpg(running.pid, signal.SIGINT)  # as Ctrl-C: everybody in the foreground gets it
    out, err = running.communicate(timeout=60)
    assert running.returncode == 130, err
    assert "Traceback" not in err
    told = json.loads(out)
    assert (told["stopped"], told["all_met"]) == (True, False)
    assert told["not_measured"] == ["create: stopped", "remove: stopped"]
    assert told["unchecked"]
    until(lambda: _is_clean(place), "everything to be gone")


def test_an_unknown_row_or_baseline_is_said_in_one_sentence(place: Path) -> None:
    for arguments, word in ((["creates"], "stat-cold"), (["create", "--against", "nfs"], "bindfs")):
        out, err = _begin(place, *arguments).communicate(timeout=60)
        assert not out
        assert word in err
        assert "Traceback" not in err
