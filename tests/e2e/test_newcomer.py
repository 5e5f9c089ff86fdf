# SPDX-License-Identifier: GPL-3.0-or-later
"""The first steps of a person who has never heard of HoloFS: `scripts/run`, and the demo of the README."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
from pathlib import Path

import pytest

from scripts.first_run import ARRIVED, LAST, demo_of
from support.device import World
from support.processes import mounts_below, processes_of
from support.sources import ROOT
from support.wait import until


def _environment(world: World, **values: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("HOLOFS_")}
    return {**kept, "HOME": str(world.root), "TMPDIR": str(world.root), **values}


@pytest.mark.timeout(180)
def test_the_demo_of_the_readme_can_be_pasted(world: World) -> None:
    demo, clean_up = demo_of(ROOT.joinpath("README.md").read_text())
    done = subprocess.run(
        ["bash", "-e", "-u", "-c", demo + 'echo "$demo" > "$TMPDIR/where"\n' + clean_up],
        cwd=ROOT,
        env=_environment(world),
        capture_output=True,
        text=True,
        timeout=140,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert f"{ARRIVED}\n" in done.stdout
    assert f"{LAST}\n" in done.stdout
    demo_directory = Path(world.root.joinpath("where").read_text().strip())
    assert demo_directory.parent == world.root
    assert not demo_directory.exists()
    until(lambda: not processes_of(demo_directory), "every process to end")


def _local(world: World) -> dict[str, str]:
    where = {"HOLOFS_STATE_DIR": str(world.root / "state"), "HOLOFS_FOLDER": str(world.root / "HoloFS")}
    return _environment(world, HOLOFS_BIND="127.0.0.1:0", HOLOFS_DISCOVERY="none", **where)


def _nothing_is_left(world: World) -> bool:
    return mounts_below(world.root) == [] and processes_of(world.root) == []


class Newcomer:
    """A terminal with `scripts/run` in it."""

    def __init__(self, world: World) -> None:
        self.state, self.folder = world.root / "state", world.root / "HoloFS"
        self._log = world.root / "terminal"
        with self._log.open("wb") as output:
            self.process = subprocess.Popen(
                [ROOT / "scripts" / "run"],
                env=_local(world),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        until(lambda: "Ctrl-C" in self.said() or self.process.poll() is not None, "scripts/run to be ready", 60)
        assert self.process.poll() is None, self.said()

    def said(self) -> str:
        return self._log.read_text()

    def press_control_c(self) -> None:
        """The terminal sends it to every process of the foreground group."""
        os.killpg(self.process.pid, signal.SIGINT)
        self.process.wait(60)


@pytest.mark.timeout(180)
def test_scripts_run_gives_a_folder_and_finds_it_again_the_second_time(world: World) -> None:
    first = Newcomer(world)
    assert first.folder.is_mount()
    assert str(first.folder) in first.said()
    tickets = re.findall(r"^ +(holofs1[a-z2-7]+)$", first.said(), re.MULTILINE)
    assert len(tickets) == 1
    commands = first.said().split("Three commands", 1)[1].splitlines()[1:4]
    for command in commands:
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, f"{command}: {done.stderr}"
    assert first.folder.joinpath("hello.txt").read_text() == "hello\n"
    first.press_control_c()
    assert "Traceback" not in first.said()
    until(lambda: _nothing_is_left(world), "everything to be taken down")

    second = Newcomer(world)
    assert re.findall(r"^ +(holofs1[a-z2-7]+)$", second.said(), re.MULTILINE) == tickets, "the one that is still good"
    assert second.folder.joinpath("hello.txt").read_text() == "hello\n"
    second.press_control_c()
    until(lambda: _nothing_is_left(world), "everything to be taken down")
    assert os.listdir(second.state / "volumes")


@pytest.mark.timeout(180)
def test_closing_the_terminal_takes_everything_down(world: World) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        ["setsid", "--ctty", "--wait", ROOT / "scripts" / "run"],
        env=_local(world),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    with open(ours, "rb", buffering=0) as terminal:
        said = b""
        while b"Ctrl-C" not in said:
            said += terminal.read(4096)
        assert world.root.joinpath("HoloFS").is_mount()
    process.wait(60)
    until(lambda: _nothing_is_left(world), "everything to be taken down")


@pytest.mark.timeout(180)
@pytest.mark.parametrize("how", ["before it is read", "when it is read"])
def test_a_broken_connection_takes_everything_down(world: World, how: str) -> None:
    """The end of a terminal without a signal: standard output and error lead nowhere all of a sudden."""
    reader, writer = os.pipe()
    process = subprocess.Popen(
        [ROOT / "scripts" / "run"], env=_local(world), stdin=subprocess.DEVNULL, stdout=writer, stderr=writer
    )
    os.close(writer)
    with open(reader, "rb", buffering=0) as connection:
        said = b""
        while how == "when it is read" and b"Ctrl-C" not in said:
            said += connection.read(4096)
    process.wait(120)
    until(lambda: _nothing_is_left(world), "everything to be taken down")
