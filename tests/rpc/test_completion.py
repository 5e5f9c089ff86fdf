# SPDX-License-Identifier: GPL-3.0-or-later
"""completion: scripts made from the parser, and the words that they ask for, against a fake device."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from holofsctl.completion import SHELLS, commands_of, script
from holofsctl.parser import build
from support.fake_device import FakeDevice
from tests.rpc.conftest import Run


@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_names_every_command_and_option_and_the_shell_can_read_it(shell: str) -> None:
    text = script(build(), shell)
    commands = next(action for action in build()._actions if action.dest == "command").choices
    for name in commands_of(build()):
        assert re.search(rf"\b{name}\b", text), name
        for option in (option for action in commands[name]._actions for option in action.option_strings):
            assert re.search(rf"(?:--|-l ){option[2:]}\b" if option[:2] == "--" else option[1:], text), option
    if found := shutil.which(shell):
        done = subprocess.run([found, "-n"], input=text.encode(), capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (0, b"")
    # bash and eval expand what these make of a name.
    assert 'compgen -W "$(' not in text
    assert "completion volumes" in text or "_holofs_words volumes" in text


@pytest.mark.parametrize("shell", SHELLS)
async def test_a_script_is_printed_without_a_daemon(run: Run, shell: str) -> None:
    code, out, err = await run("completion", shell)
    assert (code, out, err) == (0, script(build(), shell) + "\n", "")
    assert "bogus" in (await run("completion", "bogus"))[2]


def test_zsh_completes_each_word_of_an_argument_that_has_several() -> None:
    text = script(build(), "zsh")
    assert '"*:role DEVICE ' in text
    assert '"(*)::' not in text


async def test_words_of_a_line(run: Run, device: FakeDevice) -> None:
    assert (await run("completion", "volumes"))[1].split() == [volume.name for volume in device.volumes]
    assert (await run("completion", "devices", "holofsctl resolve x --keep"))[1] == "desk\n"
    assert (await run("completion", "keep"))[1].split() == ["shown", "copy", "both", "newest", "desk"]
    assert "role" in (await run("completion", "members", "holofsctl members"))[1].split()
    for said, words in (
        ("docs", ["role", "remove"]),
        ("docs rem", ["role", "remove"]),
        ("docs remove", ["lap"]),
        ("remove --undo docs", ["lap"]),
        ("docs remove lap", []),
        ("role docs lap", ["reader", "writer", "admin"]),
    ):
        assert (await run("completion", "members", f"holofsctl members {said}"))[1].split() == words, said
    assert (await run("completion", "commands"))[1].split() == [*commands_of(build())]
    assert (await run("completion", "values", "holofsctl config set network.discovery "))[1] == "default\nnone\n"
    assert (await run("completion", "values", "holofsctl config set network.bind "))[1] == ""


async def test_a_state_directory_in_the_line_is_asked(run: Run, device: FakeDevice, state: Path) -> None:
    for line in (f"holofsctl --state-dir {state}/no list", f"holofsctl --state-dir = {state}/no list 'open"):
        assert await run("completion", "volumes", line) == (0, "", "")


async def test_without_a_daemon_there_are_no_words_and_no_complaint(run: Run) -> None:
    for what in ("volumes", "devices", "members", "keep"):
        assert await run("completion", what, "holofsctl x docs") == (0, "", "")


async def test_a_name_that_would_control_a_terminal_is_left_out(
    run: Run, device: FakeDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holofsctl.commands.completion._words", lambda *_: ["a b", "\x1b[31m", "c\nd", "é"])
    assert (await run("completion", "volumes"))[1].splitlines() == ["a b", "é"]


async def test_a_slow_daemon_is_not_waited_for(
    state: Path, device: FakeDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def slow(*_: Any) -> None:
        await asyncio.sleep(60)

    monkeypatch.setattr(device, "caught_up", slow)
    command = (sys.executable, "-m", "holofsctl.main", "--state-dir", str(state))
    patient = await asyncio.create_subprocess_exec(*command, "list", stdout=-1, stderr=-1)
    process = await asyncio.create_subprocess_exec(*command, "completion", "volumes", stdout=-1, stderr=-1)
    out, err = await process.communicate()
    assert (process.returncode, out, err) == (0, b"", b"")
    assert patient.returncode is None, "the shell waited for the daemon as long as commands do"
    patient.kill()
    await patient.communicate()
