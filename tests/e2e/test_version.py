# SPDX-License-Identifier: GPL-3.0-or-later
"""version, with a real daemon and a real mount."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from holofs_api import API_VERSION, VERSION
from holofs_mount.options import EXIT_VOLUME
from support.device import Device, World
from support.wait import until

NEWER = "import sys, holofs_api; holofs_api.API_VERSION += 1; from {} import main; sys.exit(main())"
"""A program of a later version: with another number of the interface."""


def newer(module: str, device: Device, *arguments: str | Path) -> tuple[int, str]:
    command = [sys.executable, "-c", NEWER.format(module), "--state-dir", device.state, *arguments]
    done = subprocess.run(command, env=device.environment, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stderr


def test_the_daemon_and_each_mount_say_what_they_are(world: World) -> None:
    (device,) = world.running("a")
    device.create()
    folder = device.mount()
    told = device.json("version")
    assert told["daemon"]["program"] == f"holofsd {VERSION}"
    (mount,) = told["mounts"]
    assert mount["path"] == str(folder)
    assert (mount["program"], mount["api_version"]) == (f"holofs-mount {VERSION}", API_VERSION)

    device.kill9_daemon()
    device.up()  # the mount goes on, and tells the new daemon
    until(lambda: device.json("version")["mounts"][0]["program"], "the mount to come back")
    assert device.ctl("version").err == ""
    assert (told["binding"]["name"], mount["pid"] in device.mount_pids()) == ("pyfuse3", True)


def test_a_program_of_another_interface_is_refused_in_one_sentence_and_can_end_the_daemon(world: World) -> None:
    (device,) = world.running("a")
    device.create()
    folder = device.mount()
    (folder / "file").write_text("kept")
    pid, other = device.daemon_pid(), device.home / "other"
    other.mkdir()
    versions = f"version {API_VERSION + 1} of the HoloFS API and holofsd {VERSION} version {API_VERSION}"
    code, sentence = newer("holofsctl.main", device, "status")
    assert (code, sentence.count("\n")) == (1, 1)
    assert f"holofsctl {VERSION} speaks {versions}: upgrade holofsd" in sentence
    code, sentence = newer("holofs_mount.main", device, "docs", other)
    assert (code, sentence.count("\n")) == (EXIT_VOLUME, 1)
    assert f"holofs-mount {VERSION} speaks {versions}: upgrade holofsd" in sentence
    assert not os.path.ismount(other)

    device.allowed.append("the daemon went away; waiting for it")
    assert newer("holofsctl.main", device, "down") == (0, "holofsd stopped.\n")
    assert not os.path.ismount(folder)
    device.up()
    assert device.daemon_pid() != pid
    assert (folder / "file").read_text() == "kept"
