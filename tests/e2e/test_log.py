# SPDX-License-Identifier: GPL-3.0-or-later
"""log, with a real daemon: following it, and readers that go away."""

from __future__ import annotations

import json
import signal
import subprocess

from support.device import BIN, Device, World


def followed(device: Device, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [str(BIN / "holofsctl"), "log", "-f", *options],
        env=device.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_log_is_followed_over_a_restart_until_ctrl_c(world: World) -> None:
    (device,) = world.running("a")
    with followed(device, "--json") as process:
        assert process.stdout is not None
        assert "holofsd is up" in process.stdout.readline()
        device.down()
        device.up()
        events = [json.loads(process.stdout.readline())["event"]]
        while events[-1] != "holofsd is up":
            events.append(json.loads(process.stdout.readline())["event"])
        assert "holofsd stops" in events
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    assert "holofsd is up" in device.ctl("log").out
    device.down()
    assert device.ctl("log", "-n", "1").out.endswith("INFO      holofsd stops\n")


def test_a_reader_that_goes_away_is_no_error(world: World) -> None:
    (device,) = world.running("a")
    with followed(device) as process:
        assert process.stdout is not None
        assert "holofsd is up" in process.stdout.readline()
        process.stdout.close()
        assert process.wait(60) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""
