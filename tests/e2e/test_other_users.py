# SPDX-License-Identifier: GPL-3.0-or-later
"""Mounts that other users of the machine may use: held by file modes, and shut without the option. Needs root."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from support.device import Device, World
from support.other_user import as_user

BINDINGS = ("pyfuse3", "fusepy")


def outcome(action: Callable[[], object]) -> str:
    """Result of an operation by another user, or the name of its error."""

    def tried() -> str:
        try:
            return str(action())
        except OSError as error:
            return os.strerror(error.errno or 0)

    return as_user(tried)


def tree(folder: Path) -> None:
    for name, mode in (("open", 0o755), ("shut", 0o700), ("shared", 0o777)):
        (folder / name).mkdir()
        (folder / name).chmod(mode)
    for name, mode in (("open/all", 0o644), ("open/mine", 0o600), ("shut/all", 0o644), ("shared/program", 0o6777)):
        (folder / name).write_text(name)
        (folder / name).chmod(mode)


def mode_of_made(path: Path) -> str:
    os.umask(0)
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o6755))
    return oct(path.stat().st_mode)


def mode_after_write(path: Path) -> str:
    with path.open("r+b", buffering=0) as file:
        file.write(b"x")
        return oct(os.fstat(file.fileno()).st_mode)


def check_by_modes(folder: Path) -> None:
    denied, refused = os.strerror(13), os.strerror(1)
    assert outcome((folder / "open" / "all").read_text) == "open/all"
    assert outcome(lambda: sorted(os.listdir(folder / "open"))) == "['all', 'mine']"
    assert outcome((folder / "open" / "mine").read_text) == denied
    assert outcome((folder / "shut" / "all").read_text) == denied
    assert outcome(lambda: (folder / "open" / "all").write_text("")) == denied
    assert outcome(lambda: (folder / "open" / "all").unlink()) == denied
    assert outcome(lambda: (folder / "open" / "all").chmod(0o666)) == refused
    assert outcome(lambda: os.chown(folder / "open" / "all", os.getuid(), -1)) == refused
    assert outcome(lambda: os.listdir(folder / ".holofs")) == denied
    # What another user makes is the mount's user's, and runs with nobody's rights.
    made = folder / "shared" / "made"
    assert outcome(lambda: mode_of_made(made)) == "0o100755"
    assert made.stat().st_uid == os.getuid()
    made.unlink()
    program = folder / "shared" / "program"
    assert outcome(program.read_text) == "shared/program"
    assert oct(program.stat().st_mode) == "0o106777"
    assert outcome(lambda: mode_after_write(program)) == "0o100777"
    program.write_text("shared/program")
    program.chmod(0o6777)


def check_shut(folder: Path) -> None:
    """Checks that another user gets no answer, not even from the cache of the kernel."""
    for path in (folder / "open" / "all", folder / "open", folder / "shared" / "program"):
        path.stat()
    os.listdir(folder)
    (folder / "open" / "all").read_text()
    denied = os.strerror(13)
    for action in (
        (folder / "open" / "all").stat,
        (folder / "open" / "all").read_text,
        lambda: os.listdir(folder),
        lambda: (folder / "shared" / "made").touch(),
    ):
        assert outcome(action) == denied


def allowed(device: Device) -> dict[str, str]:
    return {Path(mount["path"]).name: mount["allow"] for mount in device.status()["mounts"]}


def test_others_are_held_by_modes_and_shut_out_without_the_option_also_after_a_restart(world: World) -> None:
    (device,) = world.running("a")
    for folder in (world.root, device.home):
        folder.chmod(0o711)
    device.create()
    wanted = {"other": "--allow-other", "root": "--allow-root", "": ""}
    mounts = {
        f"{binding}-{allow}": device.mount(
            "docs", "--binding", binding, *([option] if option else []), path=device.home / f"{binding}-{allow}"
        )
        for binding in BINDINGS
        for allow, option in wanted.items()
    }
    tree(mounts["pyfuse3-"])

    def check() -> None:
        assert allowed(device) == {name: name.partition("-")[2] for name in mounts}
        for name, folder in mounts.items():
            (check_by_modes if name.endswith("-other") else check_shut)(folder)

    check()
    device.down()
    device.up()
    check()
    assert "open to other users." in device.ctl("status").out
    refused = device.ctl("mount", "docs", device.home / "a", "--allow-root", "--allow-other", check=False)
    assert refused.code == 2
