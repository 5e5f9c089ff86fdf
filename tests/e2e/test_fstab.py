# SPDX-License-Identifier: GPL-3.0-or-later
"""`mount -t fuse.holofs` and lines of fstab, by mount(8) itself, for the device of another user. Needs root."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from holofsctl.launcher import MOUNTS_FILE
from support.device import Device, World
from support.mount_namespace import MountNamespace
from support.other_user import STRANGER
from support.wait import until

OWNER = "nobody"


@pytest.fixture
def system(world: World) -> Iterator[MountNamespace]:
    with MountNamespace(world.root, fuse_conf="# nothing\n", fstab="") as made:
        yield made


@pytest.fixture
def device(world: World, system: MountNamespace) -> Device:
    """A device of another user, with a volume."""
    device = world.device("a")
    world.root.chmod(0o711)
    device.prefix = system.as_user(OWNER)
    subprocess.run(["chown", OWNER, device.home], check=True)
    device.up()
    device.create()
    return device


def run(device: Device, command: Sequence[str | Path]) -> tuple[int, str]:
    """Exit code, and what the command says on either stream."""
    done = subprocess.run(command, env=device.environment, capture_output=True, text=True, timeout=60, check=False)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout + done.stderr


def folder(device: Device, name: str) -> Path:
    path = device.home / name
    subprocess.run(["install", "-d", "-o", OWNER, path], check=True)
    return path


def mounted(device: Device) -> list[str]:
    """Mounts whose processes run, as the daemon notes them."""
    return [mount["path"] for mount in json.loads((device.state / MOUNTS_FILE).read_text())]


def test_mount_and_fstab_show_the_volume_of_another_users_device(device: Device, system: MountNamespace) -> None:
    path, whose = folder(device, "mnt"), f"uid={OWNER},state_dir={device.state}"
    by_hand = [*system.prefix, "mount", "-t", "fuse.holofs", "docs", str(path), "-o"]

    # What fuse.conf lacks is said, and nothing is mounted.
    code, told = run(device, [*by_hand, f"allow_other,{whose}"])
    assert code == 32
    assert "`user_allow_other`" in told
    assert not system.options_at(path)

    # The daemon runs, or not: it is started as the user whose device it is.
    device.down()
    system.fuse_conf.write_text("user_allow_other\n")
    assert run(device, [*by_hand, f"allow_other,{whose}"]) == (0, "")
    assert {"rw", "nosuid", "nodev", "allow_other", "default_permissions"} <= system.options_at(path)
    write = 'echo all > "$1/all"; echo mine > "$1/mine"; chmod 644 "$1/all"; chmod 600 "$1/mine"; chmod 755 "$1"'
    assert run(device, [*system.as_user(OWNER), "sh", "-c", write, "sh", path]) == (0, "")
    assert run(device, [*system.as_user(STRANGER), "cat", path / "all"]) == (0, "all\n")
    assert run(device, [*system.as_user(STRANGER), "cat", path / "mine"])[0] == 1
    assert run(device, [*system.prefix, "stat", "-c", "%U", path / "mine"]) == (0, f"{OWNER}\n")

    # What is there is not changed by other options.
    assert run(device, [*by_hand, f"ro,{whose}"])[0] == 32
    assert run(device, [*system.prefix, "umount", path]) == (0, "")
    until(lambda: mounted(device) == [], "the daemon to forget the mount")

    # fstab, by root, twice: with options of mount(8), of systemd, and of ours.
    own = folder(device, "own")
    options = f"ro,noexec,allow_root,nofail,_netdev,noatime,x-systemd.automount,{whose}"
    system.fstab.write_text(
        f"docs {path} fuse.holofs {options} 0 0\ndocs {own} fuse.holofs noauto,user,state_dir={device.state} 0 0\n"
    )
    for _ in range(2):
        assert run(device, [*system.prefix, "mount", "-a"]) == (0, "")
    assert {"ro", "noexec", "nosuid", "nodev"} <= system.options_at(path)
    assert run(device, [*system.prefix, "cat", path / "mine"]) == (0, "mine\n")
    assert run(device, [*system.as_user(STRANGER), "cat", path / "all"])[0] == 1
    assert not system.options_at(own)

    # fstab, by the user: mount(8) calls the helper with his rights.
    assert run(device, [*system.as_user(OWNER), "mount", own]) == (0, "")
    assert {"rw", "noexec", "nosuid", "nodev"} <= system.options_at(own)
    assert run(device, [*system.prefix, "cat", own / "all"])[0] == 1, "without the option not even root may look"
    assert run(device, [*system.as_user(OWNER), "umount", own]) == (0, "")
    until(lambda: mounted(device) == [str(path)], "the daemon to forget the mount")
