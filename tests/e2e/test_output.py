# SPDX-License-Identifier: GPL-3.0-or-later
"""Output to everything that it can be printed to: other encodings, streams that are closed or full, narrow
terminals."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from itertools import islice

import pytest

from support.device import BIN, Device, World
from support.terminals import columns_of, fork, in_terminal, new_process
from support.wait import until

ODD = "fünf 五\n\x1b[31m\x07"
"""Letters that are not ASCII, a wide one, a new line, and what colours a terminal and rings its bell."""
ENCODINGS = (
    {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    {"LC_ALL": "POSIX"},
    {"PYTHONIOENCODING": "ascii"},
    {"PYTHONIOENCODING": "latin-1"},
)
OF_EACH = (1, 3, 3, 3)
"""In the first encoding every command is tried, in the others every third one, each time others."""


class Scene:
    """A device with a volume, names of every kind in it, a conflict-free history and another member."""

    def __init__(self, world: World) -> None:
        self.device, other = world.running("a", "b")
        device = self.device
        device.ctl("device", "name", "Küche 五")
        device.create("blätter")
        other.join(device.share("blätter"))
        self.folder = device.mount("blätter", path=device.home / "ordner ä")
        (self.folder / ODD).mkdir()
        self.file = self.folder / ODD / ODD
        self.file.write_text("1")
        self.raw = os.fsencode(self.folder) + b"/\xff\xfe raw"
        for path in (os.fsencode(self.file), self.raw):
            for text in (b"2", b"3"):
                until(lambda: device.is_settled("blätter"), "the version before to be one")
                with open(path, "wb") as file:
                    file.write(text)
        self.gone = os.fsencode(self.folder) + b"/gone \xff" + ODD.encode()
        with open(self.gone, "wb") as file:
            file.write(b"x")
        until(lambda: device.is_settled("blätter"), "everything to be published")
        os.unlink(self.gone)
        until(lambda: device.json("trash", "list", "blätter"), "the removal to be in the trash")
        until(lambda: device.volume_status("blätter")["devices"], "the other device to be known")

    def commands(self) -> Iterator[list[bytes]]:
        told = [
            *(["status"], ["list"], ["peers"], ["doctor"], ["conflicts"], ["up"], ["help"], ["device", "name"]),
            *([word, "blätter"] for word in ("members", "brake", "history-policy", "gc", "scrub", "fsck")),
            *(["trash", "list", "blätter"], ["trash", "list", "blätter", "--all"], ["share", "--list", "blätter"]),
        ]
        yield from ([os.fsencode(word) for word in words] for words in told)
        for path in (os.fsencode(self.file), self.raw, self.gone, b"bl\xc3\xa4tter:" + os.path.basename(self.raw)):
            yield [b"history", path]
        yield [b"trash", b"list", os.fsencode(self.folder)]


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with World() as world:
        yield Scene(world)


def run(device: Device, words: list[bytes], **more: str) -> subprocess.CompletedProcess[bytes]:
    command = [os.fsencode(BIN / "holofsctl"), *words]
    return subprocess.run(
        command,
        env={**device.environment, **more},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=False,
    )


def wrong(done: subprocess.CompletedProcess[bytes]) -> str:
    said = done.stdout + done.stderr
    for bad in (b"Traceback", b"Internal error: ", b"codec", b"\x1b[31m", b"\x07"):
        if bad in said:
            return f"{done.args}: {bad!r} in {said!r}"
    return ""


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    "number", range(len(ENCODINGS)), ids=lambda number: " ".join(f"{k}={v}" for k, v in ENCODINGS[number].items())
)
def test_every_name_can_be_printed_in_every_encoding(scene: Scene, number: int) -> None:
    environment = ENCODINGS[number]
    for words in islice(scene.commands(), number % OF_EACH[number], None, OF_EACH[number]):
        done = run(scene.device, words, **environment)
        assert not wrong(done)
        assert done.returncode == 0, done
    for path in (os.fsencode(scene.file), scene.raw, scene.gone):
        done = run(scene.device, [b"restore", path], **environment)
        assert not wrong(done)
        # Once there is an earlier version, or a removed file; the next time it may have been brought back already.
        assert done.returncode == 0 or b"No earlier version" in done.stderr, done


@pytest.mark.timeout(120)
def test_a_daemon_that_is_started_in_an_old_locale_finds_the_same_paths(scene: Scene) -> None:
    device, old = scene.device, ENCODINGS[0]
    assert run(device, [b"down"], **old).returncode == 0
    done = run(device, [b"up"], **old)
    assert (done.returncode, done.stdout.count(b"\n")) == (0, 1)
    assert scene.folder.is_mount()
    assert run(device, [b"unmount", os.fsencode(scene.folder)], **old).returncode == 0
    assert run(device, [b"mount", "blätter".encode(), os.fsencode(scene.folder)], **old).returncode == 0
    assert scene.file.read_text()


def test_arguments_that_are_not_utf8_name_files_and_nothing_else(scene: Scene) -> None:
    device, raw = scene.device, b"\xff\xfe"
    versions = json.loads(run(device, [b"history", scene.raw, b"--json"]).stdout)
    assert len(versions) >= 2
    for words in ([b"create", raw], [b"status", raw], [b"device", b"name", raw], [b"join", raw], [b"mount", b"x", raw]):
        done = run(device, words)
        assert not wrong(done)
        assert (done.returncode, done.stdout) == (2, b"")
        assert b"UTF-8" in done.stderr


@pytest.mark.parametrize("words", [["status"], ["help"], ["--version"], ["status", "--json"], ["mount", "--help"]])
def test_output_that_cannot_be_written_is_a_failure_in_one_sentence(scene: Scene, words: list[str]) -> None:
    for ending in (">&-", ">/dev/full", ">&- <&-"):
        done = _shell(scene.device, f"holofsctl {' '.join(words)} {ending}")
        assert not wrong(done)
        assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (1, b"", 1), done
        assert b"Standard output" in done.stderr


def test_output_that_nobody_reads_any_more_ends_the_command_without_a_word(scene: Scene) -> None:
    done = _shell(scene.device, "holofsctl help | true; echo ${PIPESTATUS[0]}; holofsctl status | head -1")
    assert not wrong(done)
    assert done.stderr == b""
    assert done.stdout.splitlines()[0] in (b"0", b"1")


def test_remarks_that_cannot_be_written_change_nothing(scene: Scene) -> None:
    for ending in ("2>&-", "2>/dev/full", "2> >(true)"):
        done = _shell(scene.device, f"holofsctl share blätter {ending}; echo $?; holofsctl nonsense {ending}; echo $?")
        ticket, shared, refused = done.stdout.splitlines()
        assert ticket.startswith(b"holofs1")
        assert (shared, refused, done.stderr) == (b"0", b"2", b"")


def test_a_command_whose_answer_is_lost_has_done_its_work(scene: Scene) -> None:
    name = os.urandom(4).hex()
    assert _shell(scene.device, f"holofsctl create {name} >&-").returncode == 1
    assert name in [volume["name"] for volume in scene.device.json("list")]
    scene.device.ctl("leave", name, "--delete")


def _shell(device: Device, line: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["bash", "-c", line],
        env=device.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=False,
    )


# ---- terminals
@pytest.mark.timeout(240)
@pytest.mark.parametrize("columns", [40, 80])
def test_nothing_is_wider_than_the_terminal(scene: Scene, columns: int) -> None:
    refused = [[b"nonsense"], [b"mount", b"x"], [b"history", b"/nowhere"], [b"status", b"nowhere"], [b"unmount", b"/x"]]
    helps = [[word.encode(), b"--help"] for word in ("mount", "share", "restore", "brake", "members")]
    # What is refused and what helps name the command, which is put together when the program starts.
    for words in [*scene.commands(), *refused, *helps]:
        said = in_terminal(scene.device, words, columns, new_process if words in [*refused, *helps] else fork)
        assert said.strip(), words
        too_wide = [line for line in said.decode().splitlines() if columns_of(line) > columns]
        assert not too_wide, (words, too_wide)
        assert b"\x1b" not in said


def test_the_width_that_a_person_sets_goes_before_that_of_the_terminal(scene: Scene) -> None:
    said = in_terminal(scene.device, [b"status"], 200, COLUMNS="50").decode()
    assert 40 < max(map(columns_of, said.splitlines())) <= 50


def test_all_of_a_narrow_table_is_there(scene: Scene) -> None:
    narrow = in_terminal(scene.device, [b"members", "blätter".encode()], 40).decode()
    whole = scene.device.ctl("members", "blätter").out
    assert "".join(whole.split()) in "".join(narrow.split())


def test_a_ticket_is_one_line_in_every_terminal_and_a_pipe_gets_whole_lines(scene: Scene) -> None:
    lines = in_terminal(scene.device, [b"share", "blätter".encode()], 40).decode().splitlines()
    ticket = next(line for line in lines if line.startswith("holofs1"))
    assert len(ticket) > 100
    piped = run(scene.device, [b"status"], COLUMNS="40").stdout.decode()
    assert max(map(len, piped.splitlines())) > 80
