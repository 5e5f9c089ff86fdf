# SPDX-License-Identifier: GPL-3.0-or-later
"""Starting and stopping real daemons through `holofsctl`: idempotent, one at a time, and honest when it fails."""

from __future__ import annotations

import os
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from support.device import Device, World
from support.processes import is_alive


@pytest.fixture
def device() -> Device:
    with World(limit_s=100) as world:
        yield world.device("a")


def test_up_starts_a_daemon_once_and_down_ends_it(device: Device) -> None:
    assert device.json("up")["started"] is True
    pid = device.daemon_pid()
    assert device.json("up")["started"] is False
    assert device.daemon_pid() == pid
    assert os.getsid(pid) == pid, "a session of its own: Ctrl-C of the person is not for it"
    assert device.json("down")["was_running"] is True
    assert not is_alive(pid), "down returns when the process is gone"
    assert device.json("down")["was_running"] is False


def test_several_ups_at_once_make_one_daemon(device: Device) -> None:
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: device.json("up"), range(4)))
    assert len({result["pid"] for result in results}) == 1


def test_up_says_why_the_daemon_does_not_start(device: Device) -> None:
    device.environment["HOLOFS_BIND"] = "nowhere"
    result = device.ctl("up", check=False)
    assert result.code == 1
    assert result.err == "holofsctl: HOLOFS_BIND is 'nowhere'; it has to be an address and a port, like 127.0.0.1:0.\n"


def test_a_killed_daemon_leaves_a_socket_that_says_not_running_and_up_replaces_it(device: Device) -> None:
    device.up()
    device.kill9_daemon()
    assert (device.state / "holofsd.sock").exists()
    assert device.ctl("list", check=False).code == 3
    device.up()
    assert device.json("list") == []


def test_a_state_directory_with_a_long_path_works(device: Device) -> None:
    device.state = device.home / ("long" * 30)
    device.environment["HOLOFS_STATE_DIR"] = str(device.state)
    device.environment["XDG_RUNTIME_DIR"] = str(device.home)
    device.up()
    device.create("docs")
    assert list(device.home.glob("holofs-*")) == []
    socket = device.state / "holofsd.sock"
    assert socket.stat().st_mode & 0o777 == 0o600
    device.down()
    assert not socket.exists()


def test_ctrl_c_ends_a_daemon_in_the_foreground_in_order(device: Device) -> None:
    device.start_daemon()
    assert device.foreground is not None
    os.kill(device.foreground.pid, signal.SIGINT)
    assert device.foreground.wait(45) == 0
    device.foreground = None
    assert not Path(device.state / "holofsd.sock").exists()


def test_doctor_finds_nothing_wrong_with_a_running_device_and_says_what_is(device: Device) -> None:
    device.up()
    assert all(check["ok"] for check in device.json("doctor"))
    device.state.chmod(0o755)
    result = device.ctl("doctor", check=False)
    assert result.code == 1
    assert "PROBLEM" in result.out
    device.state.chmod(0o700)


def test_no_output_is_lost_when_the_reader_goes_away(device: Device) -> None:
    device.up()
    command = "holofsctl status --json | head -c 1 >/dev/null; exit ${PIPESTATUS[0]}"
    done = subprocess.run(["bash", "-c", command], env=device.environment, capture_output=True, check=False)
    assert b"Traceback" not in done.stderr
    assert b"Exception" not in done.stderr
