# SPDX-License-Identifier: GPL-3.0-or-later
"""Offline: two devices change things apart, meet again, and show one tree with everything in it."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

from support.device import Device, World
from support.pair import Pair
from support.trees import contents, names
from support.wait import until

COPY = re.compile(
    r"^(?P<base>.*) \(conflict (?P<device>.+) \d{4}-\d\d-\d\d \d\d-\d\d-\d\d [0-9a-f]{8,}\)(?P<ext>\.[^.]*)?$"
)


def test_what_both_changed_apart_is_all_there_when_they_meet(world: World) -> None:
    pair = Pair(world)
    for folder in ("letters", "photos", "old"):
        pair.here.joinpath(folder).mkdir()
        for number in range(5):
            pair.here.joinpath(folder, f"{number}.txt").write_text(f"{folder} {number}")
    pair.together()

    def on_a(root: Path) -> None:
        root.joinpath("letters").rename(root / "post")
        root.joinpath("post", "new on a.txt").write_text("from a")
        root.joinpath("old", "1.txt").unlink()
        root.joinpath("photos", "0.txt").write_text("changed on a")

    def on_b(root: Path) -> None:
        root.joinpath("letters", "new on b.txt").write_text("from b")
        root.joinpath("letters", "3.txt").write_text("changed on b")
        root.joinpath("old", "2.txt").unlink()
        root.joinpath("photos").rename(root / "pictures")

    pair.apart(on_a, on_b)
    seen = {name: data.decode() for name, data in contents(pair.here).items()}
    assert seen["post/new on a.txt"] == "from a"
    assert seen["post/new on b.txt"] == "from b"
    assert seen["post/3.txt"] == "changed on b"
    assert seen["pictures/0.txt"] == "changed on a"
    assert {name for name in seen if name.startswith("old/")} == {"old/0.txt", "old/3.txt", "old/4.txt"}
    assert not pair.here.joinpath("letters").exists()
    assert not pair.here.joinpath("photos").exists()
    assert len(seen) == 5 + 2 + 5 + 3


def test_both_changed_the_same_file_the_later_is_shown_and_the_other_beside_it(world: World) -> None:
    pair = Pair(world)
    pair.here.joinpath("plan.txt").write_text("the plan")
    pair.together()
    pair.apart(
        lambda root: root.joinpath("plan.txt").write_text("as a sees it"),
        lambda root: root.joinpath("plan.txt").write_text("as b sees it, later"),
    )
    assert pair.here.joinpath("plan.txt").read_text() == "as b sees it, later"
    seen = contents(pair.here)
    assert contents(pair.there) == seen
    assert len(seen) == 2
    (copy,) = set(seen) - {"plan.txt"}
    match = COPY.match(copy)
    assert match
    assert (match["base"], match["device"], match["ext"]) == ("plan", "a", ".txt")
    assert seen[copy] == b"as a sees it"
    listed = pair.a.json("conflicts")
    assert len(listed) == 1

    # Deleting the copy settles the conflict, on both.
    pair.there.joinpath(copy).unlink()
    until(lambda: set(contents(pair.here)) == {"plan.txt"}, "the settled conflict to be settled on a")
    assert int(pair.a.volume_status()["conflicts"]) == 0
    assert pair.here.joinpath("plan.txt").read_text() == "as b sees it, later"


def test_a_conflict_copy_that_is_renamed_is_a_file_like_any_other(world: World) -> None:
    pair = Pair(world)
    pair.here.joinpath("plan.txt").write_text("the plan")
    pair.together()
    pair.apart(
        lambda root: root.joinpath("plan.txt").write_text("as a sees it"),
        lambda root: root.joinpath("plan.txt").write_text("as b sees it"),
    )
    (copy,) = names(pair.here) - {"plan.txt"}
    pair.here.joinpath(copy).rename(pair.here / "a's plan.txt")
    until(lambda: names(pair.there) == {"plan.txt", "a's plan.txt"}, "the renamed copy")
    assert pair.there.joinpath("a's plan.txt").read_text() == "as a sees it"
    pair.together()


def test_an_edit_beats_a_delete_that_did_not_know_of_it(world: World) -> None:
    pair = Pair(world)
    pair.here.joinpath("kept.txt").write_text("first")
    pair.here.joinpath("gone.txt").write_text("first")
    pair.together()

    def delete(root: Path) -> None:
        root.joinpath("kept.txt").unlink()
        root.joinpath("gone.txt").unlink()

    pair.apart(lambda root: root.joinpath("kept.txt").write_text("edited"), delete)
    assert contents(pair.here) == {"kept.txt": b"edited"}


def test_an_edit_inside_a_folder_that_the_other_deleted_keeps_the_folder(world: World) -> None:
    pair = Pair(world)
    deep = pair.here / "project" / "notes"
    deep.mkdir(parents=True)
    for name in ("one", "two"):
        deep.joinpath(name).write_text(name)
    pair.together()

    def remove(root: Path) -> None:
        for name in ("one", "two"):
            root.joinpath("project/notes", name).unlink()
        root.joinpath("project/notes").rmdir()
        root.joinpath("project").rmdir()

    pair.apart(lambda root: root.joinpath("project/notes/one").write_text("edited"), remove)
    assert contents(pair.there) == {"project/notes/one": b"edited"}


def test_both_made_the_same_directory_and_it_is_one(world: World) -> None:
    pair = Pair(world)

    def make(who: str) -> Callable[[Path], None]:
        def work(root: Path) -> None:
            root.joinpath("shared", "deep").mkdir(parents=True)
            root.joinpath("shared", "deep", who).write_text(who)

        return work

    pair.apart(make("a"), make("b"))
    assert names(pair.here) == {"shared", "shared/deep", "shared/deep/a", "shared/deep/b"}


def test_both_made_the_same_file_with_the_same_bytes_and_it_shows_once(world: World) -> None:
    pair = Pair(world)
    pair.apart(
        lambda root: root.joinpath("same").write_text("same bytes"),
        lambda root: root.joinpath("same").write_text("same bytes"),
    )
    assert names(pair.here) == {"same"}
    pair.here.joinpath("same").unlink()
    until(lambda: names(pair.there) == set(), "a name that was shown once to be gone with one unlink")


def test_concurrent_moves_into_each_other_lose_nothing(world: World) -> None:
    pair = Pair(world)
    for folder in ("left", "right"):
        pair.here.joinpath(folder).mkdir()
        pair.here.joinpath(folder, f"{folder}.txt").write_text(folder)
    pair.together()
    pair.apart(
        lambda root: root.joinpath("left").rename(root / "right" / "left"),
        lambda root: root.joinpath("right").rename(root / "left" / "right"),
    )
    assert sorted(contents(pair.here).values()) == [b"left", b"right"]


def test_a_stale_editor_makes_a_copy_instead_of_destroying_what_it_never_saw(world: World) -> None:
    """One process read the file before the other device's change arrived, and saves after it."""
    a, b = world.sharing("a", "b")
    here, there = a.mount(), b.mount()
    here.joinpath("note").write_text("first")
    until(lambda: there.joinpath("note").read_text() == "first", "the note")
    assert here.joinpath("note").read_text() == "first"
    there.joinpath("note").write_text("second, from b")
    until(lambda: _as_another_process(here / "note") == "second, from b", "the change to arrive on a")
    temporary = here / ".note.tmp"
    temporary.write_text("third, based on the first")
    os.rename(temporary, here / "note")
    until(lambda: len(contents(here)) == 2, "the conflict copy")
    assert sorted(contents(here).values()) == [b"second, from b", b"third, based on the first"]


def _as_another_process(path: Path) -> str:
    return subprocess.run(["cat", path], capture_output=True, text=True, check=True).stdout


def test_what_was_written_while_the_other_was_away_comes_at_once_when_it_is_back(world: World) -> None:
    pair = Pair(world)
    pair.b.stop_daemon()
    _write_numbered(pair.here, 200)
    pair.b.up()
    pair.together()
    assert len(names(pair.there)) == 200


def _write_numbered(root: Path, count: int) -> None:
    for number in range(count):
        root.joinpath(f"{number:03}").write_text(str(number) * 100)


def test_reading_what_is_here_never_waits_for_the_network(world: World) -> None:
    pair = Pair(world)
    pair.here.joinpath("file").write_text("here")
    pair.together()
    pair.a.down()
    _alone(pair.b, pair.there)


def _alone(device: Device, root: Path) -> None:
    device.down()
    device.up()
    assert root.joinpath("file").read_text() == "here"
    root.joinpath("new").write_text("written alone")
    assert root.joinpath("new").read_text() == "written alone"
