# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings in a file, with a real daemon and mount: used at the start, changed while it runs, and broken."""

from __future__ import annotations

from pathlib import Path

from support.device import Device, World

FAULT = "[log]\nlevel = 'loud'\n"


def shown(device: Device, key: str) -> tuple[object, str, object]:
    """Value, source and waiting value of a setting, as the daemon has it."""
    told = device.json("config", "get", key)
    return told["value"], told["source"], told["waiting"]


def without_variables(device: Device) -> Path:
    """A device that is kept off the network by its file alone; the path of that."""
    for name in ("HOLOFS_BIND", "HOLOFS_DISCOVERY", "HOLOFS_DEVICE_NAME"):
        del device.environment[name]
    device.ctl("config", "set", "network.bind", "127.0.0.1:0")
    device.ctl("config", "set", "network.discovery", "none")
    device.ctl("config", "set", "device.name", "from the file")
    return device.state / "config.toml"


def test_a_file_is_used_changed_and_broken_while_files_stay_at_hand(world: World) -> None:
    device = world.device("a")
    device.allowed += [
        "the settings file is not used",
        "the daemon went away; waiting for it",
        "a setting is passed over",
    ]
    file = without_variables(device)
    device.up()
    assert device.status()["device_name"] == "from the file"
    assert shown(device, "network.bind") == ("127.0.0.1:0", "file", None)

    # What can be changed at once is; the rest waits, and is said to.
    assert "log.level is in use." in device.ctl("config", "set", "log.level", "debug").err
    device.create()
    folder = device.mount()
    (folder / "file").write_text("kept")
    assert "a setting changed" in (device.state / "log" / "holofsd.log").read_text()
    waits = device.ctl("config", "set", "network.relays", "https://relay.example.org").err
    assert "starts again: `holofsctl down`, then `holofsctl up`" in waits
    assert shown(device, "network.relays") == ([], "default", ["https://relay.example.org"])
    assert "mounted from now on" in device.ctl("config", "set", "mount.patience", "7").err
    assert "device name" in device.ctl("config", "set", "device.name", "another").err
    device.ctl("config", "unset", "network.relays")
    assert shown(device, "network.relays") == ([], "default", None)

    # A broken file changes nothing, and neither does a start with it.
    good = file.read_text()
    file.write_text(FAULT)
    refused = device.ctl("config", "reload", check=False)
    assert (refused.code, f"{file}, line 2: log.level is 'loud'" in refused.err) == (1, True)
    device.stop_daemon()
    device.up()
    assert (folder / "file").read_text() == "kept"
    assert shown(device, "network.bind") == ("127.0.0.1:0", "file", None)
    (warning,) = device.status()["warnings"]
    assert warning.startswith(f"{file}, line 2: log.level is 'loud'; it can be debug, info, warning or error.")
    assert "PROBLEM" in device.ctl("doctor", check=False).out
    (device.home / "good").write_text(good)
    device.environment["EDITOR"] = f"cp {device.home / 'good'}"
    changed = ["device.name", "network.bind", "network.discovery", "log.level", "mount.patience"]
    assert device.json("config", "edit") == {"schema": 1, "changed": changed}
    assert device.status()["warnings"] == []
    assert file.read_text() == good

    # An option goes before the environment, and that before the file.
    device.down()
    device.environment["HOLOFS_LOG"] = "warning"
    device.up()
    assert shown(device, "log.level") == ("warning", "environment", None)
    assert "HOLOFS_LOG in the environment goes before the file" in device.ctl("config", "set", "log.level", "info").err
    device.down()
    device.ctl("up", "--log=error")
    assert shown(device, "log.level") == ("error", "option", None)
    assert "options count when it starts" in device.ctl("up", "--log=debug").err
    assert shown(device, "log.level") == ("error", "option", None)


def test_a_first_start_with_a_broken_file_is_refused_with_its_line(world: World) -> None:
    device = world.device("a")
    device.ctl("config", "set", "log.level", "debug")
    file = device.state / "config.toml"
    file.write_text(FAULT)
    refused = device.ctl("up", check=False)
    assert refused.code == 1
    assert refused.err.startswith(f"holofsctl: {file}, line 2: log.level is 'loud'")
    file.unlink()
    device.up()
