# SPDX-License-Identifier: GPL-3.0-or-later
"""history, restore, trash, history-policy and gc against a fake device: what is asked, what is printed, exit codes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from holofsd.core.errors import NoSuchName
from holofsd.fs.types import Restored
from holofsd.rpc import history_api as api
from holofsd.rpc.server import serving
from support.fake_device import FakeDevice
from tests.rpc.conftest import Run


class PastDevice(FakeDevice):
    def __init__(self) -> None:
        super().__init__()
        self.asked: list[object] = []
        self.taken = False
        self.restored = [Restored(b"a\xff", "restored"), Restored(b"b", "same")]

    async def history(self, volume: str, path: bytes) -> api.HistoryReply:
        if path != b"a":
            raise NoSuchName("There is no such file.")
        versions = (
            api.VersionSummary("aaaaaaaa", 5000, 0, 10, 1, "lap", True, True),
            api.VersionSummary("cccccccc", 4500, 5000, 0, 1, "lap", True, False),
            api.VersionSummary("bbbbbbbb", 4000, 4500, 2048, 1, "desk", False, False, True),
        )
        return api.HistoryReply(versions, self.taken)

    async def restore(self, wanted: api.Restoration) -> AsyncIterator[Restored]:
        self.asked.append(wanted)
        for one in self.restored:
            yield one

    async def list_trash(self, volume: str, path: bytes, single: bool) -> tuple[api.TrashSummary, ...]:
        self.asked.append((volume, path, single))
        return (
            (api.TrashSummary(b"d/\x1b[2J", "directory", 5000, 3, 2048, "", False, self.taken),)
            if volume == "docs"
            else ()
        )

    async def empty_trash(self, volume: str, path: bytes, older_seconds: int) -> api.EmptyTrashReply:
        self.asked.append((volume, path, older_seconds))
        return api.EmptyTrashReply(3, 2048)

    async def keep_history(self, volume: str, wanted: api.RetentionSettings) -> api.HistoryStatus:
        all_seconds, daily_seconds = wanted.all_seconds, wanted.daily_seconds
        self.asked.append((volume, all_seconds, daily_seconds))
        kept = 30 * 86400 if all_seconds is None else all_seconds
        return api.HistoryStatus(kept, 365 * 86400 if daily_seconds is None else daily_seconds, 7, 2048)

    async def collect_garbage(self, volume: str, now: bool) -> api.CollectGarbageReply:
        self.asked.append((volume, now))
        return api.CollectGarbageReply(1, 10, 2, 2048)


@pytest.fixture
async def device(state: Path) -> AsyncIterator[PastDevice]:
    fake = PastDevice()
    async with serving(fake, state / "holofsd.sock"):
        yield fake


async def test_versions_say_where_their_bytes_are(run: Run, device: PastDevice) -> None:
    code, out, err = await run("history", "docs:a")
    first, empty, second = out.splitlines()
    assert code == 0
    assert first.startswith("aaaaaaaa")
    assert first.endswith("now")
    assert "0 bytes" in empty
    assert "2.0 KiB" in second
    assert "on another device" in second
    assert "restore docs:a --version bbbbbbbb` brings that one back." in err
    _, out, _ = await run("history", "docs:a", "--json")
    assert [version["here"] for version in json.loads(out)] == [True, True, False]


async def test_what_cannot_come_back_to_its_path_is_recommended_at_another_one(run: Run, device: PastDevice) -> None:
    device.taken = True
    _, _, err = await run("history", "docs:a")
    assert "restore docs:a --version bbbbbbbb --to docs:a.restored` brings that one back." in err
    _, _, err = await run("trash", "list", "docs")
    assert " --to " in err


async def test_a_file_that_is_not_known_is_one_sentence(run: Run, device: PastDevice) -> None:
    code, out, err = await run("history", "docs:nothing")
    assert (code, out, err) == (1, "", "holofsctl: There is no such file.\n")
    code, _, err = await run("history", "docs")
    assert code == 2
    assert "whole volume" in err


async def test_restore_passes_on_what_was_said(run: Run, device: PastDevice) -> None:
    code, out, err = await run("restore", "docs:a", "--version", "bbbb", "--to", "docs:c/d")
    assert (code, out) == (0, "a\\xff\n")
    assert "1 item restored, 1 as they were already." in err
    await run("trash", "restore", "docs:a", "--at", "2026-11-20 14:30Z")
    assert device.asked == [
        api.Restoration("docs", b"a", "bbbb", 0, b"c/d", False),
        api.Restoration("docs", b"a", "", 1795185000000, b"", True),
    ]


async def test_what_could_not_be_restored_is_said_and_fails(run: Run, device: PastDevice) -> None:
    device.restored = [Restored(b"a", "missing", "Nobody has it.")]
    code, out, err = await run("restore", "docs:a")
    assert (code, out) == (1, "")
    assert "a is not restored: Nobody has it." in err


@pytest.mark.parametrize(
    "arguments",
    [
        ("restore", "docs:a", "--version", "b", "--at", "2h"),
        ("restore", "docs:a", "--at", "someday"),
        ("restore", "elsewhere:a"),
        ("trash",),
        ("trash", "burn", "docs"),
        ("trash", "empty", "docs", "--older", "x"),
        ("history-policy", "docs", "--all", "-1"),
        ("gc",),
    ],
)
async def test_nonsense_is_refused_before_anything_happens(
    run: Run, device: PastDevice, arguments: tuple[str, ...]
) -> None:
    code, out, _ = await run(*arguments)
    assert (code, out, device.asked) == (2, "", [])


@pytest.mark.parametrize("option", ["--all", "--daily", "--max"])
@pytest.mark.parametrize("value", ["-5", "-1d", "-.5G"])
async def test_a_value_below_zero_is_told_as_a_value(run: Run, device: PastDevice, option: str, value: str) -> None:
    code, _, err = await run("history-policy", "docs", option, value)
    assert code == 2
    assert f"{option}: '{value}' is not a " in err


async def test_a_folder_to_skip_without_a_name_is_a_variable_that_is_not_set(run: Run, device: PastDevice) -> None:
    code, _, err = await run("brake", "docs", "--skip", "")
    assert code == 2
    assert "is it a variable that is not set?" in err


async def test_trash_is_listed_without_obeying_names(run: Run, device: PastDevice) -> None:
    code, out, err = await run("trash", "list", "docs", "--all")
    assert code == 0
    assert "\x1b" not in out
    assert "folder, 3 files (not all here)" in out
    assert "restore" in err
    assert device.asked == [("docs", b"", True)]


async def test_emptying_the_trash_says_what_that_means(run: Run, device: PastDevice) -> None:
    code, out, err = await run("trash", "empty", "docs:d", "--older", "30d")
    assert (code, out) == (0, "")
    assert "3 files (2.0 KiB) let go on this device; others decide" in err
    assert device.asked == [("docs", b"d", 30 * 86400)]


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ((), "every version for 30 days, then one a day for 365 days"),
        (("--all", "0"), "one a day for 365 days"),
        (("--daily", "30d"), "every version for 30 days"),
        (("--all", "0", "--daily", "0"), "nothing that was replaced or removed is kept"),
    ],
)
async def test_the_policy_is_said_in_a_line(run: Run, device: PastDevice, options: tuple[str, ...], line: str) -> None:
    code, out, err = await run("history-policy", "docs", *options)
    assert (code, out) == (0, line + "\n")
    assert "7 replaced versions kept, 2.0 KiB." in err


async def test_gc_says_what_waits(run: Run, device: PastDevice) -> None:
    code, out, err = await run("gc", "docs")
    assert (code, out) == (0, "1 file deleted, 10 bytes\n")
    assert "2 files more (2.0 KiB)" in err
    _, out, _ = await run("gc", "docs", "--now", "--json")
    assert json.loads(out)["waiting"] == 2
    assert device.asked == [("docs", False), ("docs", True)]
