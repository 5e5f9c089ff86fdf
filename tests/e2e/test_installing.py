# SPDX-License-Identifier: GPL-3.0-or-later
"""`holofsctl install` and `uninstall`, with a user manager of the tests that runs units as they are written."""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from support.device import Device, World
from support.fake_systemd import (
    PROGRAMS,
    FakeSystemd,
    address_of,
    command_of,
    handed_over,
    listening_at,
    settings_of,
)
from support.wait import until

SYSTEMCTL = "systemctl --user"


def at_home(device: Device) -> Path:
    """A device whose settings for the desktop and for systemd are its own; the folder that holds them."""
    for name in ("XDG_RUNTIME_DIR", "XDG_STATE_HOME", "DBUS_SESSION_BUS_ADDRESS"):
        device.environment.pop(name, None)
    config = device.home / "config"
    device.environment["XDG_CONFIG_HOME"] = str(config)
    return config


def managed(device: Device) -> FakeSystemd:
    fake = FakeSystemd(device.home / "systemd", at_home(device))
    fake.install()
    device.environment["PATH"] = f"{fake.bin}:{device.environment['PATH']}"
    return fake


def unmanaged(device: Device) -> Path:
    """No systemd answers, whatever this machine has."""
    config = at_home(device)
    folder = device.home / "bin"
    folder.mkdir()
    for name in PROGRAMS:
        (folder / name).write_text("#!/bin/sh\necho 'Failed to connect to bus' >&2; exit 1\n")
        (folder / name).chmod(0o755)
    device.environment["PATH"] = f"{folder}:{device.environment['PATH']}"
    return config


def files_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


def test_a_daemon_by_hand_is_handed_over_and_its_mounts_stay(world: World) -> None:
    device = world.device("a")
    fake = managed(device)
    device.up()
    device.create()
    folder = device.mount()
    device.allowed.append("the daemon went away; waiting for it")
    by_hand, mounts = device.daemon_pid(), device.mount_pids()
    assert f"(process {by_hand}) would be ended" in device.ctl("install", "--dry-run").err
    with (folder / "open").open("w") as file:
        told = device.json("install")
        file.write("written across")
    unit, socket_unit = Path(told["file"]).name, Path(told["socket_file"]).name
    assert told["starter"] == "systemd"
    assert (told["changed"], told["handed_over"], told["linger"]) == (True, True, False)
    assert fake.orders() == [f"{SYSTEMCTL} daemon-reload", f"{SYSTEMCTL} enable --now {unit}"]
    assert device.daemon_pid() != by_hand
    assert device.mount_pids() == mounts
    assert (folder / "open").read_text() == "written across"

    # Twice is the same as once.
    daemon, text = device.daemon_pid(), Path(told["file"]).read_text()
    again = device.ctl("install")
    assert "installed already" in again.err
    assert fake.orders() == []
    assert (device.daemon_pid(), Path(told["file"]).read_text()) == (daemon, text)

    # Other settings: the unit is written anew, and the daemon that runs gets them.
    device.environment["HOLOFS_LOG"] = "debug"
    assert device.json("install")["changed"]
    assert fake.orders()[-1] == f"{SYSTEMCTL} restart {unit}"
    assert device.daemon_pid() != daemon
    assert device.mount_pids() == mounts

    gone = device.json("uninstall")
    removed = [told["file"], told["socket_file"]]
    assert gone == {"schema": 1, "removed": removed, "stopped": True, "state_dir": str(device.state)}
    assert fake.orders() == [
        f"{SYSTEMCTL} stop {socket_unit}",
        f"{SYSTEMCTL} disable --now {unit} {socket_unit}",
        f"{SYSTEMCTL} daemon-reload",
    ]
    assert files_below(fake.units) == []
    assert not os.path.ismount(folder)
    assert device.ctl("status", check=False).code == 3
    assert device.state.is_dir()
    twice = device.ctl("uninstall")
    assert "Nothing was installed" in twice.err
    assert str(device.state) in twice.err


def test_what_systemd_refuses_leaves_a_daemon_that_runs(world: World) -> None:
    device = world.device("a")
    fake = managed(device)
    device.up()
    device.allowed.append("the daemon went away; waiting for it")
    fake.refuse("enable")
    refused = device.ctl("install", check=False)
    assert refused.code == 1
    assert "failed: Access denied." in refused.err
    assert device.daemon_pid()


def test_lingering_is_asked_for_and_what_to_run_is_said_where_it_is_refused(world: World) -> None:
    device = world.device("a")
    fake = managed(device)
    assert device.json("install", "--linger")["linger"]
    assert fake.orders()[-1] == "loginctl enable-linger"
    fake.refuse("enable-linger")
    refused = device.ctl("install", "--linger", check=False)
    assert refused.code == 1
    assert "`sudo loginctl enable-linger " in refused.err


def test_uninstalling_leaves_no_file_though_systemd_refuses(world: World) -> None:
    device = world.device("a")
    fake = managed(device)
    device.ctl("install")
    fake.refuse("disable")
    refused = device.ctl("uninstall", check=False)
    assert refused.code == 1
    assert "failed: Access denied." in refused.err
    assert files_below(fake.units) == []
    assert device.ctl("status", check=False).code == 3


def test_two_devices_are_two_units_and_a_file_of_somebody_else_stays(world: World) -> None:
    device, other = world.device("a"), world.device("b")
    fake = managed(device)
    other.environment.update({key: device.environment[key] for key in ("HOME", "XDG_CONFIG_HOME", "PATH")})
    first, second = Path(device.json("install")["file"]), Path(other.json("install")["file"])
    assert first != second
    assert len({device.daemon_pid(), other.daemon_pid()}) == 2
    other.ctl("uninstall")
    sockets = [f"{first.stem}.socket", f"sockets.target.wants/{first.stem}.socket"]
    assert files_below(fake.units) == [f"default.target.wants/{first.name}", first.name, *sockets]
    assert device.daemon_pid()
    second.write_text("[Service]\nExecStart=/bin/true\n")
    refused = other.ctl("install", check=False)
    assert refused.code == 1
    assert "move it away" in refused.err
    other.ctl("uninstall")
    assert second.read_text() == "[Service]\nExecStart=/bin/true\n"
    device.ctl("uninstall")


def test_a_dry_run_shows_everything_and_does_nothing(world: World) -> None:
    device = world.device("a")
    fake = managed(device)
    told = device.json("install", "--dry-run", "--linger")
    shown = device.ctl("install", "--dry-run").out
    assert told["content"] in shown
    assert told["file"] in shown
    assert "would run: systemctl --user enable --now" in shown
    assert [" ".join(words) for words in told["commands"]][-1] == "loginctl enable-linger"
    assert fake.orders() == []
    assert not device.state.exists()
    assert not fake.units.exists()
    device.ctl("install")
    there = files_below(fake.units)
    assert told["socket_content"] in shown
    assert device.json("uninstall", "--dry-run")["removed"] == [told["file"], told["socket_file"]]
    assert files_below(fake.units) == there
    device.ctl("uninstall")


def test_a_setting_that_is_no_text_is_refused_before_anything_is_written(world: World) -> None:
    device = world.device("a")
    fake = managed(device)
    device.environment["HOLOFS_DEVICE_NAME"] = os.fsdecode(b"\xff")
    refused = device.ctl("install", check=False)
    assert refused.code == 2
    assert "HOLOFS_DEVICE_NAME" in refused.err
    assert not fake.units.exists()


def test_settings_in_a_mounted_volume_are_no_place_for_a_file_that_starts_it(world: World) -> None:
    device = world.device("a")
    fake = managed(device)
    device.up()
    device.create()
    device.environment["XDG_CONFIG_HOME"] = str(device.mount() / "config")
    for command in ("install", "uninstall"):
        refused = device.ctl(command, check=False)
        assert refused.code == 2
        assert "inside the HoloFS mount" in refused.err
    assert fake.orders() == []


def test_without_systemd_the_desktop_starts_it(world: World) -> None:
    device = world.device("a")
    config = unmanaged(device)
    told = device.json("install")
    assert told["starter"] == "autostart"
    assert files_below(config) == [f"autostart/{Path(told['file']).name}"]
    assert device.daemon_pid()
    assert "installed already" in device.ctl("install").err
    assert device.ctl("install", "--linger", check=False).code == 1
    gone = device.ctl("uninstall")
    assert "holofsctl down" in gone.err
    assert files_below(config) == []
    assert device.daemon_pid()


def test_a_client_that_comes_before_the_daemon_waits_for_it_and_down_ends_that(world: World) -> None:
    device = world.device("a")
    fake = managed(device)
    told = device.json("install")
    content = device.json("install", "--dry-run")
    device.stop_daemon()
    fake.orders()
    address = address_of(content["socket_content"])
    assert address == str(device.state / "activate.sock")
    environment = {key: device.environment[key] for key in ("HOME", "PATH")}
    # The test listens in the place of systemd: it starts the service when somebody connects.
    with listening_at(address) as listener, ThreadPoolExecutor(1) as pool:
        asked = pool.submit(device.ctl, "list", check=False)
        assert select.select([listener], [], [], 60)[0]
        assert not asked.done()
        device.run_daemon(
            handed_over(command_of(content["content"])),
            {**environment, **settings_of(content["content"])},
            listener.fileno(),
        )
        answer = asked.result(60)
        assert answer.code == 0, answer.err
        device.ctl("down")
        assert fake.orders() == [f"{SYSTEMCTL} stop {Path(told['socket_file']).name}"]
        assert device.ended_within(30)
        assert device.ctl("list", check=False).code == 3
        assert not select.select([listener], [], [], 0)[0], "nobody asks systemd for it any more"


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(60)
        yield listening


def test_the_daemon_of_the_unit_speaks_to_systemd_and_brings_mounts_back(world: World, manager: socket.socket) -> None:
    device = world.device("a")
    managed(device)
    text = device.json("install", "--dry-run")["content"]
    of_systemd = {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "6000000000"}
    environment = {key: device.environment[key] for key in ("HOME", "PATH")}

    def start() -> None:
        device.run_daemon(command_of(text), {**environment, **settings_of(text), **of_systemd})
        assert [manager.recv(100), manager.recv(100)] == [b"READY=1", b"WATCHDOG=1"]

    start()
    device.create()
    folder = device.mount()
    (folder / "file").write_text("kept")
    device.kill9_all()
    start()
    until(lambda: os.path.ismount(folder) and (folder / "file").read_text() == "kept", "the mount to be back")
    mounts = device.mount_pids()
    device.kill9_daemon()
    start()
    assert device.mount_pids() == mounts
    assert (folder / "file").read_text() == "kept"
    device.stop_daemon()
    while manager.recv(100) != b"STOPPING=1":
        pass
