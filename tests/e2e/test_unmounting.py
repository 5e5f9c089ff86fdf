# SPDX-License-Identifier: GPL-3.0-or-later
"""Taking a folder away that a program uses, that is a symlink, that is none; what is open after it was detached."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.device import Device, World
from support.wait import until


@pytest.fixture(scope="module")
def device() -> Iterator[Device]:
    with World() as world:
        (made,) = world.running("a")
        made.create()
        yield made


@contextmanager
def program(*words: str, cwd: Path | None = None) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-c", *words]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=cwd or "/") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"here\n"
        yield process
        assert process.stdin is not None
        process.stdin.close()


IDLE = "import sys; print('here', flush=True); sys.stdin.read()"
WRITER = """
import sys
with open(sys.argv[1], "w") as file:
    file.write("before "); file.flush()
    print("here", flush=True)
    sys.stdin.read()
    file.write("and after")
"""


def test_a_folder_in_use_stays_and_the_user_is_named(device: Device) -> None:
    folder = device.mount()
    folder.joinpath("kept").write_text("1")
    with program(IDLE, cwd=folder) as user:
        refused = device.ctl("unmount", folder, check=False)
        assert (refused.code, refused.out) == (1, "")
        assert f"(process {user.pid})" in refused.err
        assert "--force" in refused.err
        assert folder.is_mount()
        assert folder.joinpath("kept").read_text() == "1"
        assert [mount["state"] for mount in device.status()["mounts"]] == ["up"]
        assert '"error": {"code": "mount-busy"' in device.ctl("unmount", folder, "--json", check=False).err
    device.unmount(folder)
    assert not folder.is_mount()
    assert device.status()["mounts"] == []


def test_the_advice_for_a_folder_in_use_can_be_pasted(device: Device) -> None:
    folder = device.mount(path=device.home / "it's $HOME; ä")
    with program(IDLE, cwd=folder):
        refused = device.ctl("unmount", folder, check=False)
        advice = refused.err.split("`")[1]
        assert paste(device, advice) == 0
        assert not folder.is_mount()
        assert device.status()["mounts"] == []


def test_the_advice_for_a_place_inside_a_mount_can_be_pasted(device: Device) -> None:
    folder = device.mount(path=device.home / "with a space")
    refused = device.ctl("unmount", folder / "inside", check=False)
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert paste(device, refused.err.split("`")[1]) == 0
    assert not folder.is_mount()


def paste(device: Device, command: str) -> int:
    """The exit code of a command line, as a person's shell runs it."""
    return subprocess.run(
        ["bash", "-c", command], env=device.environment, capture_output=True, timeout=60, check=False
    ).returncode


def test_what_is_open_in_a_detached_folder_is_written_to_its_end(device: Device) -> None:
    folder = device.mount()
    with program(WRITER, str(folder / "letter")):
        done = device.ctl("unmount", "--force", folder)
        assert "until they close them" in done.err
        assert os.listdir(folder) == []
        assert device.status()["mounts"] == []
    again = device.mount()
    until(lambda: again.joinpath("letter").read_text() == "before and after", "what was written after it was detached")
    device.unmount(again)


def test_force_on_a_folder_that_nobody_uses_says_nothing(device: Device) -> None:
    folder = device.mount()
    assert device.ctl("unmount", "--force", folder).err == ""
    assert not folder.is_mount()


def test_a_folder_is_taken_away_by_a_symlink_and_from_inside(device: Device) -> None:
    folder = device.mount()
    link, chain = device.home / "link", device.home / "chain"
    link.symlink_to(folder)
    chain.symlink_to("link")
    device.ctl("unmount", chain)
    assert not folder.is_mount()
    folder = device.mount()
    done = subprocess.run(
        ["holofsctl", "unmount", "."], cwd=folder, env=device.environment, capture_output=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert not folder.is_mount()


def test_what_is_no_mount_is_told_from_what_was_meant(device: Device) -> None:
    folder = device.mount()
    for path, word, code in (
        (folder / "sub", f"mounted at {folder}", 2),
        ("docs", str(folder), 2),
        (f"{folder}x", "Did you mean", 1),
    ):
        refused = device.ctl("unmount", path, check=False)
        assert refused.code == code
        assert word in refused.err
    assert folder.is_mount()
    device.unmount(folder)
