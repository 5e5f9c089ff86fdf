# SPDX-License-Identifier: GPL-3.0-or-later
"""Limits of sending and fetching, measured: how much goes within ten seconds between two real daemons.

scripts/soak limits

Each row is one limit. The figures are those of the daemon that has it (`docs/metrics.md`), over each ten seconds that
begin while a large file is on its way: the least and the most, as a part of the limit.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from support.device import Device, World
from support.metrics import scrape
from support.wait import until

WINDOW_S = 10.0
MEASURED_S = 14.0
EVERY_S = 0.25
EXACT = 0.10
RATES = ("256K", "1M", "5M", "20M")
UNITS = {"K": 1 << 10, "M": 1 << 20}


def samples(device: Device, counter: str) -> list[tuple[float, float]]:
    """Times and bytes, for so long, from the moment on at which bytes go."""
    port = int(device.status()["metrics_port"])
    begin = scrape(port).of(counter)
    until(lambda: scrape(port).of(counter) > begin + 4096, "something to be on its way")
    ends = time.monotonic() + MEASURED_S
    found: list[tuple[float, float]] = []
    while time.monotonic() < ends:
        found.append((time.monotonic(), scrape(port).of(counter)))
        time.sleep(EVERY_S)
    return found


def windows(found: list[tuple[float, float]]) -> list[float]:
    """Bytes a second over each ten seconds that were measured."""
    rates = []
    for at, count in found:
        end = next(((later, more) for later, more in found if later >= at + WINDOW_S), None)
        if end is not None:
            rates.append((end[1] - count) / (end[0] - at))
    return rates


def measured(limited: Device, option: str, counter: str, source: Path, rate: str) -> tuple[float, float]:
    """Least and most of what goes, as a part of the limit, while a file goes from a to b."""
    value = int(rate[:-1]) * UNITS[rate[-1]]
    limited.ctl("limit", option, rate)
    source.write_bytes(os.urandom(int(value * (MEASURED_S + 6))))
    try:
        parts = [part / value for part in windows(samples(limited, counter))]
    finally:
        limited.ctl("limit", "--off")
    return min(parts), max(parts)


def main() -> int:
    failed = 0
    with World() as world:
        for name in ("a", "b"):
            world.device(name).environment["HOLOFS_METRICS_PORT"] = "0"
        a, b = world.devices
        a.up()
        b.up()
        a.create()
        b.join(a.share())
        here = a.mount()
        rows = (
            (b, "--down", "holofs_network_received_bytes_total"),
            (a, "--up", "holofs_network_sent_bytes_total"),
        )
        for limited, option, counter in rows:
            for rate in RATES:
                source = here / f"{option}-{rate}"
                least, most = measured(limited, option, counter, source, rate)
                is_exact = least >= 1 - EXACT and most <= 1 + EXACT
                failed += not is_exact
                print(f"limit {option} {rate}: {least:.3f} to {most:.3f}{'' if is_exact else '  FAILED'}", flush=True)
                until(lambda: b.is_settled(), "the rest to arrive", seconds=300)
    verdict = "FAILED" if failed else "passed"
    print(f"{verdict}: scripts/soak limits: {failed} of {2 * len(RATES)} not exact", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
