# SPDX-License-Identifier: GPL-3.0-or-later
"""conflicts, diff and resolve against a fake device."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from holofs_api.v1 import control_pb2 as pb
from holofsctl.errors import CommandError
from holofsctl.places import VolumePlace, place_of
from holofsd.rpc.device_api import Resolution
from support.fake_device import FakeDevice
from tests.rpc.conftest import Run

SHOWN, COPY = "01" * 16, "02" * 16


FILE = "docs:" + os.fsdecode(b"a\xff.txt")


async def test_a_conflict_is_listed_with_who_when_how_much_and_where(run: Run, device: FakeDevice) -> None:
    code, out, _ = await run("conflicts")
    name, shown, copy = out.splitlines()
    assert (code, name) == (0, "docs: a\\xff.txt")
    assert shown.split()[:2] == ["shown", "lap"]
    assert copy.split()[:2] == ["copy", "desk"]
    assert "2 bytes" in copy
    assert "a\\xff (conflict).txt [content is on other devices]" in copy


async def test_a_listed_conflict_as_json_names_both_sides(run: Run, device: FakeDevice) -> None:
    (told,) = json.loads((await run("conflicts", "docs", "--json"))[1])
    assert os.fsencode(told["path"]) == b"a\xff (conflict).txt"
    assert (told["id"], told["here"], told["shown"]["device"], told["shown"]["here"]) == (COPY, False, "lap", True)


@pytest.mark.parametrize(
    ("keep", "how", "whose"),
    [("shown", "shown", ""), ("both", "both", ""), ("desk", "device", "desk"), ("device:both", "device", "both")],
)
async def test_what_to_keep_is_asked_of_the_daemon(
    run: Run, device: FakeDevice, keep: str, how: str, whose: str
) -> None:
    code, out, err = await run("resolve", FILE, "--keep", keep)
    assert (code, err) == (0, "")
    assert device.resolutions == [Resolution("docs", b"a\xff.txt", False, how, whose)]
    assert out.count("\n") == 1


async def test_what_was_settled_is_told_as_json(run: Run, device: FakeDevice) -> None:
    one = json.loads((await run("resolve", FILE, "--keep", "newest", "--json"))[1])
    assert one["kept"]["device"] == "lap"
    assert [other["device"] for other in one["replaced"]] == ["desk"]
    (many,) = json.loads((await run("resolve", "docs", "--all", "--keep", "both", "--json"))[1])
    assert many["kept"] is None
    assert len(many["files"]) == 1
    assert device.resolutions[-1] == Resolution("docs", b"", True, "both")


async def test_what_could_not_be_settled_is_told_and_is_a_failure(run: Run, device: FakeDevice) -> None:
    device.problem = "A program writes to it."
    code, out, err = await run("resolve", "--all", "--keep", "shown")
    assert code == 1
    assert "not settled. A program writes to it." in out
    assert err == "holofsctl: 1 conflict of 1 could not be settled.\n"


@pytest.mark.parametrize(
    "words",
    [
        ["resolve"],
        ["resolve", "docs"],
        ["resolve", FILE, "--keep", ""],
        ["resolve", FILE, "--keep", "device:"],
        ["resolve", FILE, "--json"],
        ["resolve", "/nowhere/at/all", "--keep", "shown"],
        ["diff", "nothing:of/ours"],
        ["diff", FILE, "somebody"],
    ],
)
async def test_what_makes_no_sense_is_wrong_usage(run: Run, device: FakeDevice, words: list[str]) -> None:
    code, out, err = await run(*words)
    assert (code, out, err.count("\n")) == (2, "", 1)


@pytest.mark.parametrize("words", [["resolve", "docs:other"], ["diff", "docs:other"]])
async def test_a_file_without_conflict_is_told_to_have_none(run: Run, device: FakeDevice, words: list[str]) -> None:
    code, out, err = await run(*words)
    assert (code, out) == (1, "")
    assert "nothing else stands for this name" in err


async def test_a_person_is_asked_and_sees_what_differs(run: Run, device: FakeDevice) -> None:
    code, out, err = await run("resolve", FILE, stdin="what?\nd\n2\n")
    assert code == 0
    assert device.resolutions == [Resolution("docs", b"a\xff.txt", False, "id", "", COPY)]
    assert err.count("Keep which?") == 3
    assert "+three" in err
    assert out.startswith("docs: a\\xff.txt: ")


@pytest.mark.parametrize(("stdin", "keep"), [("b\n", "both"), ("1\n", "id"), ("s\n", ""), ("q\n", ""), ("", "")])
async def test_a_person_can_keep_both_or_leave_it(run: Run, device: FakeDevice, stdin: str, keep: str) -> None:
    code, _, _ = await run("resolve", "--all", stdin=stdin)
    assert code == 0
    assert [asked.keep for asked in device.resolutions] == ([keep] if keep else [])


async def test_where_one_answer_cannot_be_followed_the_next_conflict_is_asked_for(run: Run, device: FakeDevice) -> None:
    first = device.conflict_list[0]
    device.conflict_list = (first, replace(first, shown_path=b"b", path=b"b (conflict)"))
    device.problem = "A program writes to it."
    code, _, err = await run("resolve", "docs", "--all", stdin="1\n1\n")
    assert code == 1
    assert err.count("Not settled") == 2


async def test_the_difference_is_a_unified_diff(run: Run, device: FakeDevice) -> None:
    device.alternatives[COPY] = [b"one\n", b"three\t\x1b[1m"]
    code, out, err = await run("diff", FILE)
    assert code == 0
    old, new, *rest = out.splitlines()
    assert old.startswith("--- a\\xff.txt\t1970-01-01 00:00:00 UTC, lap")
    assert new.startswith("+++ a\\xff (conflict).txt\t")
    assert rest == ["@@ -1,2 +1,2 @@", " one", "-two", "+three\t\\x1b[1m", "\\ No newline at end of file"]
    assert err == "The content of desk's is on other devices: fetching it.\n"


async def test_the_difference_as_json(run: Run, device: FakeDevice) -> None:
    (told,) = json.loads((await run("diff", FILE, "desk", "--json"))[1])
    assert (told["text"], told["explanation"], told["copy"]["device"]) == (True, "", "desk")
    assert told["diff"].endswith("@@ -1,2 +1,2 @@\n one\n-two\n+three\n")


async def test_what_is_not_text_or_too_large_is_said_to_be_so(run: Run, device: FakeDevice) -> None:
    device.alternatives[COPY] = [b"PNG\0\n"]
    assert "they are not text" in (await run("diff", FILE))[1]
    conflict = device.conflict_list[0]
    device.conflict_list = (replace(conflict, size=1 << 30),)
    assert "too large" in (await run("diff", FILE))[1]
    device.conflict_list = (replace(conflict, kind="directory"),)
    (told,) = json.loads((await run("diff", FILE, "--json"))[1])
    assert (told["text"], told["diff"]) == (False, "")


def test_a_path_means_what_is_mounted_nearest(tmp_path: Path) -> None:
    mounts = [pb.MountInfo(volume="docs", path=str(tmp_path)), pb.MountInfo(volume="pics", path=str(tmp_path / "p"))]
    names = ["docs", "pics"]
    assert place_of(f"{tmp_path}/a/../b", names, mounts) == VolumePlace("docs", b"b")
    assert place_of(f"{tmp_path}/p/x", names, mounts) == VolumePlace("pics", b"x")
    assert place_of(str(tmp_path), names, mounts) == VolumePlace("docs")
    assert place_of("pics", names, mounts) == VolumePlace("pics")
    assert place_of("docs:/a//b/", names, mounts) == VolumePlace("docs", b"a/b")
    with pytest.raises(CommandError):
        place_of(f"{tmp_path}x/a", names, mounts)


def test_a_path_below_a_mount_of_the_past_is_not_taken_for_todays(tmp_path: Path) -> None:
    mounts = [pb.MountInfo(volume="docs", path=str(tmp_path), at_ms=1)]
    with pytest.raises(CommandError) as refused:
        place_of(f"{tmp_path}/a", ["docs"], mounts)
    assert "as it was" in refused.value.message


def test_a_symlink_on_the_way_is_followed_and_one_at_the_end_is_meant(tmp_path: Path) -> None:
    (tmp_path / "mount").mkdir()
    (tmp_path / "way").symlink_to("mount")
    (tmp_path / "mount" / "end").symlink_to("/elsewhere")
    mounts = [pb.MountInfo(volume="docs", path=str(tmp_path / "mount"))]
    assert place_of(f"{tmp_path}/way/end", ["docs"], mounts) == VolumePlace("docs", b"end")
