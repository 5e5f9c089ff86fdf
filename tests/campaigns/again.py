# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests that generate what they try, again and again with other examples: `fuzz` and `differential`.

scripts/soak fuzz SEED DURATION, scripts/soak differential SEED DURATION
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter

from campaigns.soak import asked_for, told

FACTOR = "8"
"""So many times the examples of `scripts/test` in each round."""
STOP_S = 10.0
"""What a round gets to end when the time is up."""
DONE = re.compile(r"(\d+) (passing|passed)\b")
STATISTICS = re.compile(r"^(=+ Hypothesis Statistics|tests/\S+:$|\s+- |$)")


def main() -> int:
    name = sys.argv.pop(1)
    seed, ends = asked_for(name, __doc__)
    done, began, figures = 0, time.monotonic(), Counter[str]()
    while time.monotonic() < ends or not done:
        code = one_round(name, seed + done, ends if done else None, figures)
        if code is None:
            break  # the time is up in the middle of a round
        if code:
            print(f"FAILED: {name}: seed {seed + done} found something: {told(figures)}", flush=True)
            return code
        done += 1
        print(f"{name}: {done} rounds from seed {seed}, nothing found: {told(figures)}", flush=True)
    took = time.monotonic() - began
    print(f"passed: scripts/soak {name}, seed {seed}: {done} rounds in {took:.0f} s: {told(figures)}", flush=True)
    return 0


def one_round(name: str, seed: int, ends: float | None, figures: Counter[str]) -> int | None:
    """The exit code; None if it was stopped because the time is up. `ends` None: it takes what it takes."""
    # No other process tests at the same time: deadlines are for what never happens, but memory is measured.
    command = [sys.executable, "-m", "pytest", f"tests/{name}", "-q", f"--hypothesis-seed={seed}"]
    command += ["--timeout=3600", "--hypothesis-show-statistics"]
    with subprocess.Popen(command, env={**os.environ, "FUZZ_FACTOR": FACTOR}, stdout=subprocess.PIPE, text=True) as run:
        over = threading.Event()
        clock = threading.Timer(max(0.0, ends - time.monotonic()), _stop, (run, over)) if ends is not None else None
        if clock is not None:
            clock.start()
        assert run.stdout is not None
        for line in run.stdout:
            count(line, figures)
            if not over.is_set() and not STATISTICS.match(line):
                print(line, end="", flush=True)
        if clock is not None:
            clock.cancel()
    return None if over.is_set() else run.returncode


def _stop(run: subprocess.Popen[str], over: threading.Event) -> None:
    """End it as Ctrl-C does, so that it takes its mounts and daemons away; if it does not listen, its reaper does
    that."""
    over.set()
    for harder in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        run.send_signal(harder)
        try:
            run.wait(STOP_S)
            return
        except subprocess.TimeoutExpired:
            continue


def count(line: str, figures: Counter[str]) -> None:
    """Count what pytest and Hypothesis say that they did."""
    for number, what in DONE.findall(line):
        figures[{"passing": "examples", "passed": "tests passed"}.get(what, what)] += int(number)


if __name__ == "__main__":
    sys.exit(main())
