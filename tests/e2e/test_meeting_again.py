# SPDX-License-Identifier: GPL-3.0-or-later
"""Offline: two devices change things apart, meet again, and show one tree with everything in it.

They go apart once for all stories that are told here, each in a folder of its own; its test looks at what came of it.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from e2e.conftest import FAILED, LIMIT_S
from support.device import Device, World
from support.pair import Pair
from support.trees import contents, names
from support.wait import until

COPY = re.compile(
    r"^(?P<base>.*) \(conflict (?P<device>.+) \d{4}-\d\d-\d\d \d\d-\d\d-\d\d [0-9a-f]{8,}\)(?P<ext>\.[^.]*)?$"
)

Work = Callable[[Path], object]


@dataclass(frozen=True)
class Story:
    """Steps in its folder: on a while both are together, on a alone, and then on b alone."""

    before: Work
    on_a: Work
    on_b: Work


@dataclass(frozen=True)
class Met:
    """The folder of a story on both devices, which have met again."""

    a: Device
    here: Path
    there: Path

    def together(self) -> None:
        until(lambda: contents(self.here) == contents(self.there), "both devices to show the same")


STORIES: dict[str, Story] = {}


def story(on_a: Work, on_b: Work, before: Work = lambda root: None) -> Callable[[Callable[[Met], None]], object]:
    def told(test: Callable[[Met], None]) -> Callable[[Met], None]:
        STORIES[test.__name__] = Story(before, on_a, on_b)
        return test

    return told


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with World(limit_s=LIMIT_S) as world:
        pair = Pair(world)
        for name, each in STORIES.items():
            pair.here.joinpath(name).mkdir()
            each.before(pair.here / name)
        pair.together()
        pair.apart(
            lambda root: [each.on_a(root / name) for name, each in STORIES.items()],
            lambda root: [each.on_b(root / name) for name, each in STORIES.items()],
        )
        yield pair


@pytest.fixture
def met(request: pytest.FixtureRequest, pair: Pair) -> Iterator[Met]:
    yield Met(pair.a, pair.here / request.node.name, pair.there / request.node.name)
    if request.node.stash.get(FAILED, False):
        print(pair.a.world.logs())


def write(name: str, text: str) -> Work:
    return lambda root: root.joinpath(name).write_text(text)


# ---- stories
def _three_folders(root: Path) -> None:
    for folder in ("letters", "photos", "old"):
        root.joinpath(folder).mkdir()
        for number in range(5):
            root.joinpath(folder, f"{number}.txt").write_text(f"{folder} {number}")


def _much_on_a(root: Path) -> None:
    root.joinpath("letters").rename(root / "post")
    root.joinpath("post", "new on a.txt").write_text("from a")
    root.joinpath("old", "1.txt").unlink()
    root.joinpath("photos", "0.txt").write_text("changed on a")


def _much_on_b(root: Path) -> None:
    root.joinpath("letters", "new on b.txt").write_text("from b")
    root.joinpath("letters", "3.txt").write_text("changed on b")
    root.joinpath("old", "2.txt").unlink()
    root.joinpath("photos").rename(root / "pictures")


@story(_much_on_a, _much_on_b, before=_three_folders)
def test_what_both_changed_apart_is_all_there_when_they_meet(met: Met) -> None:
    seen = {name: data.decode() for name, data in contents(met.here).items()}
    assert seen["post/new on a.txt"] == "from a"
    assert seen["post/new on b.txt"] == "from b"
    assert seen["post/3.txt"] == "changed on b"
    assert seen["pictures/0.txt"] == "changed on a"
    assert {name for name in seen if name.startswith("old/")} == {"old/0.txt", "old/3.txt", "old/4.txt"}
    assert not met.here.joinpath("letters").exists()
    assert not met.here.joinpath("photos").exists()
    assert len(seen) == 5 + 2 + 5 + 3


@story(
    write("plan.txt", "as a sees it"), write("plan.txt", "as b sees it, later"), before=write("plan.txt", "the plan")
)
def test_both_changed_the_same_file_the_later_is_shown_and_the_other_beside_it(met: Met) -> None:
    assert met.here.joinpath("plan.txt").read_text() == "as b sees it, later"
    seen = contents(met.here)
    assert contents(met.there) == seen
    assert len(seen) == 2
    (copy,) = set(seen) - {"plan.txt"}
    match = COPY.match(copy)
    assert match
    assert (match["base"], match["device"], match["ext"]) == ("plan", "a", ".txt")
    assert seen[copy] == b"as a sees it"
    assert len(met.a.json("conflicts", met.here)) == 1

    # Deleting the copy settles the conflict, on both.
    met.there.joinpath(copy).unlink()
    until(lambda: set(contents(met.here)) == {"plan.txt"}, "the settled conflict to be settled on a")
    assert met.a.json("conflicts", met.here) == []
    assert met.here.joinpath("plan.txt").read_text() == "as b sees it, later"


@story(write("plan.txt", "as a sees it"), write("plan.txt", "as b sees it"), before=write("plan.txt", "the plan"))
def test_a_conflict_copy_that_is_renamed_is_a_file_like_any_other(met: Met) -> None:
    (copy,) = names(met.here) - {"plan.txt"}
    met.here.joinpath(copy).rename(met.here / "a's plan.txt")
    until(lambda: names(met.there) == {"plan.txt", "a's plan.txt"}, "the renamed copy")
    assert met.there.joinpath("a's plan.txt").read_text() == "as a sees it"
    met.together()
    assert met.a.json("conflicts", met.here) == []


def _two_files(root: Path) -> None:
    for name in ("kept.txt", "gone.txt"):
        root.joinpath(name).write_text("first")


def _unlink_both(root: Path) -> None:
    for name in ("kept.txt", "gone.txt"):
        root.joinpath(name).unlink()


@story(write("kept.txt", "edited"), _unlink_both, before=_two_files)
def test_an_edit_beats_a_delete_that_did_not_know_of_it(met: Met) -> None:
    assert contents(met.here) == contents(met.there) == {"kept.txt": b"edited"}


def _project(root: Path) -> None:
    root.joinpath("project/notes").mkdir(parents=True)
    for name in ("one", "two"):
        root.joinpath("project/notes", name).write_text(name)


def _remove_project(root: Path) -> None:
    for name in ("one", "two"):
        root.joinpath("project/notes", name).unlink()
    root.joinpath("project/notes").rmdir()
    root.joinpath("project").rmdir()


@story(write("project/notes/one", "edited"), _remove_project, before=_project)
def test_an_edit_inside_a_folder_that_the_other_deleted_keeps_the_folder(met: Met) -> None:
    assert contents(met.here) == contents(met.there) == {"project/notes/one": b"edited"}


def _make_deep(who: str) -> Work:
    def work(root: Path) -> None:
        root.joinpath("shared", "deep").mkdir(parents=True)
        root.joinpath("shared", "deep", who).write_text(who)

    return work


@story(_make_deep("a"), _make_deep("b"))
def test_both_made_the_same_directory_and_it_is_one(met: Met) -> None:
    assert names(met.here) == names(met.there) == {"shared", "shared/deep", "shared/deep/a", "shared/deep/b"}


@story(write("same", "same bytes"), write("same", "same bytes"))
def test_both_made_the_same_file_with_the_same_bytes_and_it_shows_once(met: Met) -> None:
    assert names(met.here) == names(met.there) == {"same"}
    met.here.joinpath("same").unlink()
    until(lambda: names(met.there) == set(), "a name that was shown once to be gone with one unlink")


def _left_and_right(root: Path) -> None:
    for folder in ("left", "right"):
        root.joinpath(folder).mkdir()
        root.joinpath(folder, f"{folder}.txt").write_text(folder)


@story(
    lambda root: root.joinpath("left").rename(root / "right" / "left"),
    lambda root: root.joinpath("right").rename(root / "left" / "right"),
    before=_left_and_right,
)
def test_concurrent_moves_into_each_other_lose_nothing(met: Met) -> None:
    assert sorted(contents(met.here).values()) == [b"left", b"right"]
    assert contents(met.here) == contents(met.there)


# ---- each with devices of its own
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
