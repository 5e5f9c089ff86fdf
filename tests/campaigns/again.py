# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests that generate what they try, again and again with other examples: `fuzz` and `differential`.

scripts/soak fuzz SEED DURATION, scripts/soak differential SEED DURATION
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

from campaigns.soak import asked_for

FACTOR = "8"
"""So many times the examples of `scripts/test` in each round."""


def main() -> int:
    name = sys.argv.pop(1)
    seed, ends = asked_for(name, __doc__)
    done = 0
    while time.monotonic() < ends or not done:
        # No other process tests at the same time: deadlines are for what never happens, but memory is measured.
        command = [sys.executable, "-m", "pytest", f"tests/{name}", "-q", f"--hypothesis-seed={seed + done}"]
        ended = subprocess.run([*command, "--timeout=3600"], env={**os.environ, "FUZZ_FACTOR": FACTOR}, check=False)
        if ended.returncode:
            print(f"{name}: seed {seed + done} found something", flush=True)
            return ended.returncode
        done += 1
        print(f"{name}: {done} rounds from seed {seed}, nothing found", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
