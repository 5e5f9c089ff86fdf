# SPDX-License-Identifier: GPL-3.0-or-later
"""log: the daemon's log from its files, with a fake device or none."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from holofs_api.state_directory import prepare
from holofsctl.daemon_log import Filter, LogReader
from support.fake_device import FakeDevice
from tests.rpc.conftest import Run

NOW = datetime.now(UTC)


def entry(event: str, level: str = "info", hours_ago: float = 0, **fields: object) -> str:
    at = (NOW - timedelta(hours=hours_ago)).isoformat().replace("+00:00", "Z")
    return json.dumps({**fields, "event": event, "level": level, "logger": "holofsd.x", "timestamp": at})


@pytest.fixture
def folder(state: Path) -> Path:
    """The log folder of a state directory that is a device's."""
    prepare(state)
    (state / "lock").touch()
    log = state / "log"
    log.mkdir(exist_ok=True)
    return log


def write(file: Path, *lines: str) -> None:
    with file.open("a", encoding="utf-8") as opened:
        opened.write("".join(f"{line}\n" for line in lines))


async def test_a_line_has_time_level_sentence_and_fields(run: Run, folder: Path) -> None:
    write(folder / "holofsd.log", entry("a mount is up", path="/mnt/a b", pid=5), entry("bad", "warning"))
    code, out, err = await run("log")
    first, second = out.splitlines()
    assert (code, err) == (0, "")
    assert first.startswith(NOW.astimezone().strftime("%Y-%m-%d %H:%M:%S"))
    assert first.endswith('INFO      a mount is up  path="/mnt/a b" pid=5')
    assert second.endswith("WARNING   bad")


async def test_rotated_files_come_first_and_n_counts_the_last_lines(run: Run, folder: Path) -> None:
    for number, name in enumerate(("holofsd.log.10", "holofsd.log.2", "holofsd.log.1", "holofsd.log")):
        write(folder / name, entry(f"e{2 * number}"), entry(f"e{2 * number + 1}"))
    write(folder / "mount-1.log", entry("of a mount"))
    assert events((await run("log", "--json"))[1]) == [f"e{number}" for number in range(8)]
    assert events((await run("log", "--json", "-n", "3"))[1]) == ["e5", "e6", "e7"]
    assert (await run("log", "-n", "0"))[1] == ""


async def test_a_hundred_lines_are_shown_and_all_since_a_time(run: Run, folder: Path) -> None:
    write(folder / "holofsd.log", *(entry(f"e{number}", hours_ago=1) for number in range(150)))
    assert len((await run("log"))[1].splitlines()) == 100
    assert len((await run("log", "--since", "2h"))[1].splitlines()) == 150


async def test_level_and_time_choose_lines(run: Run, folder: Path) -> None:
    write(folder / "holofsd.log", entry("old", "error", 3), "of old", entry("new"), entry("worse", "error"))
    assert events((await run("log", "--level", "warning", "--json"))[1]) == ["old", None, "worse"]
    assert events((await run("log", "--since", "2h", "--json"))[1]) == ["new", "worse"]
    code, out, err = await run("log", "--level", "critical", "--since", "2h")
    assert (code, out, err) == (0, "", "The log has no such line.\n")


async def test_a_broken_line_is_shown_as_it_is_and_controls_no_terminal(run: Run, folder: Path) -> None:
    with (folder / "holofsd.log").open("wb") as file:
        file.write(b'{"event": "x", "timestamp"\n[1]\n\x1b[31m\xff\n{"event": 1, "timestamp": "now"}\nunfinished')
    code, out, _ = await run("log")
    lines = ['{"event": "x", "timestamp"', "[1]", "\\x1b[31m\\xff", '{"event": 1, "timestamp": "now"}', "unfinished"]
    assert (code, out.splitlines()) == (0, lines)
    code, out, _ = await run("log", "--json")
    lines[2] = "\x1b[31m\udcff"
    assert (code, [json.loads(line)["text"] for line in out.splitlines()]) == (0, lines)
    assert out.replace("\n", "").isprintable()


async def test_a_traceback_stands_below_its_line(run: Run, folder: Path) -> None:
    write(folder / "holofsd.log", entry("failed", "error", exception="Traceback\n  File x\nValueError"))
    assert (await run("log"))[1].splitlines()[1:] == ["    Traceback", "      File x", "    ValueError"]


async def test_a_name_chooses_what_names_the_volume(run: Run, folder: Path, device: FakeDevice) -> None:
    volume = device.volumes[0]
    write(
        folder / "holofsd.log",
        entry("by name", volume=volume.name),
        entry("by id", folder=volume.id[:8]),
        entry("by path", path="/mnt/docs"),
        entry("of another", volume="others"),
        "broken",
    )
    assert events((await run("log", volume.name, "--json"))[1]) == ["by name", "by id", "by path"]


async def test_a_name_without_a_daemon_is_looked_for_as_it_is(run: Run, folder: Path) -> None:
    write(folder / "holofsd.log", entry("mine", volume="docs"), entry("of an id", volume="deadbeef"), entry("none"))
    assert events((await run("log", "docs", "--json"))[1]) == ["mine"]
    assert events((await run("log", "deadbeef" * 8, "--json"))[1]) == ["of an id"]


async def test_without_a_device_there_is_no_log(run: Run) -> None:
    code, out, err = await run("log")
    assert (code, out) == (3, "")
    assert "There is no device" in err


def test_following_misses_no_line_over_rotations(state: Path, folder: Path) -> None:
    log = folder / "holofsd.log"
    write(log, entry("e0"))
    with LogReader(state) as reader:
        wanted = Filter()
        assert [line.event["event"] for line in reader.last(wanted, None)] == ["e0"]
        assert [*reader.more(wanted)] == []
        whole = entry("e1")
        with log.open("a") as file:
            file.write(whole[:10])
            file.flush()
            assert [*reader.more(wanted)] == []
            file.write(whole[10:] + "\n")
        write(log, entry("e2"))
        os.rename(log, folder / "holofsd.log.1")
        write(log, entry("e3"))
        os.rename(folder / "holofsd.log.1", folder / "holofsd.log.2")
        os.rename(log, folder / "holofsd.log.1")
        write(log, entry("e4"))
        assert [line.event["event"] for line in reader.more(wanted)] == ["e1", "e2", "e3", "e4"]
        write(log, entry("e5"))
        assert [line.event["event"] for line in reader.more(wanted)] == ["e5"]
        assert [*reader.more(wanted)] == []


def events(text: str) -> list[str | None]:
    """The sentence of each line, None for a broken one."""
    return [json.loads(line).get("event") for line in text.splitlines()]
