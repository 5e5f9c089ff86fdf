# SPDX-License-Identifier: GPL-3.0-or-later
"""The networks of tests: nothing of them outside, and nothing of them afterwards, however the run ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from support.lan import Lan
from support.processes import is_alive
from support.wait import until

TESTS = Path(__file__).parents[1]
BUSY = """
import sys, time
from support.lan import Lan
lan = Lan()
hosts = [lan.host("a"), lan.host("b")]
hosts[0].ports[0].trouble(delay_ms=5)
print(lan.hub.pid, *(host.space.pid for host in hosts), flush=True)
time.sleep(1000)
"""


def interfaces() -> set[str]:
    return set(os.listdir("/sys/class/net"))


@pytest.mark.usefixtures("network")
def test_a_network_is_not_seen_outside_and_goes_with_its_block() -> None:
    before = interfaces()
    with Lan() as lan:
        host = lan.host("a")
        assert interfaces() == before
        assert "10.77.0.1" in host.space.run("ip", "-4", "address", "show", "dev", "eth0")
        pids = [lan.hub.pid, host.space.pid]
        host.ports[0].trouble(loss=0.5)
    assert not any(is_alive(pid) for pid in pids)
    assert interfaces() == before


@pytest.mark.usefixtures("network")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_ended_leaves_no_network_behind(how: int) -> None:
    run = subprocess.Popen(
        [sys.executable, "-c", BUSY], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=TESTS, text=True
    )
    assert run.stdout is not None
    spaces = {os.readlink(f"/proc/{pid}/ns/net") for pid in run.stdout.readline().split()}
    assert len(spaces) == 3
    run.send_signal(how)
    run.wait(60)
    run.stdout.close()
    until(lambda: not spaces & set(_spaces_in_use()), "every process of these networks to end")


def _spaces_in_use() -> list[str]:
    """Ids of the network namespaces of all processes; a namespace without a process is gone."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                found.append(os.readlink(entry / "ns" / "net"))
            except OSError:
                continue
    return found
