# SPDX-License-Identifier: GPL-3.0-or-later
"""version, with a real daemon and a real mount."""

from __future__ import annotations

from holofs_api import API_VERSION, VERSION
from support.device import World
from support.wait import until


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
