# SPDX-License-Identifier: GPL-3.0-or-later
"""`rm -rf` on one device does not empty the others before somebody has said so."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from support.device import Device, World
from support.trees import contents
from support.wait import until

COUNT = 110


def filled(world: World) -> tuple[Device, Device, Path, Path, dict[str, bytes]]:
    a, b = world.sharing("a", "b")
    here, there = a.mount(), b.mount()
    here.joinpath("photos").mkdir()
    for number in range(COUNT):
        here.joinpath("photos", f"{number:03}").write_bytes(b"%d" % number * (2000 if number % 50 == 0 else 1))
    here.joinpath("letter").write_text("dear all")
    until(lambda: contents(there) == contents(here), "b to have everything")
    until(lambda: b.is_settled() and a.is_settled(), "both to rest")
    return a, b, here, there, contents(there)


@pytest.mark.parametrize("verdict", ["accept", "refuse"])
def test_a_mass_removal_elsewhere_waits_for_a_word(world: World, verdict: str) -> None:
    _a, b, here, there, before = filled(world)
    shutil.rmtree(here / "photos")
    here.joinpath("letter").write_text("dear all, one thing more")
    until(lambda: there.joinpath("letter").read_text().endswith("more"), "the ordinary change to arrive")
    until(lambda: b.volume_status()["held_files"] >= COUNT - 50, "the removals to be held")
    kept = until(lambda: {path: data for path, data in contents(there).items() if path != "letter"}, "what is kept")
    assert len(kept) >= COUNT - 50
    assert all(data == before[path] for path, data in kept.items())

    told = b.ctl("status", "docs").out
    assert "Held by the brake since" in told
    assert "a removed" in told
    shown = b.json("brake", "docs")
    assert shown["held_by"] == ["a"]
    assert (shown["files"], shown["percent"], shown["off"]) == (50, 20, False)
    assert len(shown["paths"]) == shown["held_files"] + shown["held_directories"]
    assert "photos/" in b.ctl("brake", "docs").out

    b.down()
    b.up()
    until(lambda: b.volume_status()["held_files"] == shown["held_files"], "the hold to outlive a restart")
    decided = b.json("brake", "docs", f"--{verdict}")
    assert decided["decided"] >= COUNT - 50
    assert not decided["held_files"]
    left = {"letter": b"dear all, one thing more"}
    wanted = left if verdict == "accept" else {**before, **left}
    until(lambda: contents(there) == wanted, f"b to {verdict}")
    until(lambda: contents(here) == wanted, f"a to follow what b said: {verdict}")
    assert "holds nothing" in b.ctl("brake", "docs").out


def test_the_limit_can_be_changed_and_put_off(world: World) -> None:
    _a, b, here, there, _before = filled(world)
    changed = b.json("brake", "docs", "--files", "3", "--percent", "1")
    assert (changed["files"], changed["percent"]) == (3, 1)
    assert b.json("brake", "docs", "--percent", "2")["files"] == 3
    assert b.json("brake", "docs", "--off")["off"]
    assert "off" in b.ctl("brake", "docs").out
    shutil.rmtree(here / "photos")
    until(lambda: contents(there) == {"letter": b"dear all"}, "b to follow at once")
    assert "holds nothing" in b.ctl("brake", "docs", "--accept").err
    for wrong in (("--percent", "101"), ("--files", "x"), ("--accept", "--refuse"), ("--files", "1", "--accept")):
        assert b.ctl("brake", "docs", *wrong, check=False).code == 2
    assert b.ctl("brake", "nothing", check=False).code != 0


@pytest.mark.parametrize("point", ["brake.held", "brake.decided", "brake.carried"])
def test_a_word_that_was_given_is_kept_whenever_the_daemon_is_killed(world: World, point: str) -> None:
    _a, b, here, there, before = filled(world)
    b.ctl("brake", "docs", "--files", "5")
    b.down()
    b.start_daemon(HOLOFS_FAULTS=f"{point}=kill")
    shutil.rmtree(here / "photos")
    here.joinpath("letter").write_text("written after the last removal")
    before["letter"] = b"written after the last removal"
    if point == "brake.held":
        assert b.ended_within(60)
        b.up()
    # A word is for what is held: one that came after it would be held anew.
    size = len(before["letter"])
    until(lambda: b.json("history", "docs:letter")[0]["size"] == size, "all removals to have come")
    until(lambda: b.volume_status()["held_files"] >= COUNT - 50, "the removals to be held")
    b.ctl("brake", "docs", "--refuse", check=point == "brake.held")
    if point != "brake.held":
        assert b.ended_within(60)
        b.up()
    until(lambda: contents(here) == before, "everything to come back")
    until(lambda: contents(there if there.is_mount() else b.mount()) == before, "here, too")
