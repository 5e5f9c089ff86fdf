# SPDX-License-Identifier: GPL-3.0-or-later
"""Conflicts through `holofsctl`: listed, compared, settled on one device for all, and settled both ways at once."""

from __future__ import annotations

from pathlib import Path

from support.device import World
from support.pair import Pair
from support.trees import contents
from support.wait import until


def write(root: Path, text: str, *names: str) -> None:
    for name in names:
        root.joinpath(name).parent.mkdir(exist_ok=True)
        root.joinpath(name).write_text(f"first line\n{text}\n")


def collide(pair: Pair) -> None:
    """A file that both had, one that both made, and one inside .git."""
    write(pair.here, "the plan", "plan.txt", ".git/HEAD")
    pair.together()
    pair.apart(
        lambda root: write(root, "as a sees it", "plan.txt", "new.txt", ".git/HEAD"),
        lambda root: write(root, "as b sees it", "plan.txt", "new.txt", ".git/HEAD"),
    )


def settled(pair: Pair) -> bool:
    return not pair.a.json("conflicts") and not pair.b.json("conflicts")


def test_a_conflict_is_listed_compared_and_settled_for_all(world: World) -> None:
    pair = Pair(world)
    collide(pair)
    listed = pair.b.json("conflicts", "docs")
    assert sorted(found["shown_path"] for found in listed) == [".git/HEAD", "new.txt", "plan.txt"]
    assert {(found["device"], found["shown"]["device"], found["here"]) for found in listed} == {("a", "b", True)}
    assert [found["path"] for found in listed if found["shown_path"] == ".git/HEAD"] == [""]
    assert [found["shown_path"] for found in pair.b.json("conflicts", pair.there / "plan.txt")] == ["plan.txt"]

    diff = pair.b.ctl("diff", pair.there / "plan.txt").out.splitlines()
    assert diff[2:] == ["@@ -1,2 +1,2 @@", " first line", "-as b sees it", "+as a sees it"]

    done = pair.b.json("resolve", pair.there / "plan.txt", "--keep", "copy")
    assert (done["kept"]["device"], [other["device"] for other in done["replaced"]]) == ("a", ["b"])
    pair.b.ctl("resolve", "docs:.git/HEAD", "--keep", "a")
    pair.b.ctl("resolve", pair.there / "new.txt", stdin="d\n1\n")
    until(lambda: settled(pair), "the conflicts to be settled on both")
    pair.together()
    assert contents(pair.here) == contents(pair.there)
    assert {name: data.decode().splitlines()[1] for name, data in contents(pair.here).items() if data} == {
        "plan.txt": "as a sees it",
        ".git/HEAD": "as a sees it",
        "new.txt": "as b sees it",
    }
    refused = pair.a.ctl("resolve", pair.here / "plan.txt", "--keep", "shown", check=False)
    assert (refused.code, "nothing to choose" in refused.err) == (1, True)


def test_settled_both_ways_while_apart_both_contents_are_there(world: World) -> None:
    pair = Pair(world)
    collide(pair)
    pair.apart(
        lambda _root: pair.a.ctl("resolve", "docs", "--all", "--keep", "shown"),
        lambda _root: pair.b.ctl("resolve", pair.there, "--all", "--keep", "a"),
    )
    listed = pair.a.json("conflicts")
    assert sorted(found["shown_path"] for found in listed) == [".git/HEAD", "new.txt", "plan.txt"]
    assert {(found["device"], found["shown"]["device"]) for found in listed} == {("b", "a")}
    pair.a.ctl("resolve", "--all", "--keep", "newest")
    until(lambda: settled(pair), "the conflicts to be settled on both")
    until(lambda: b"as a sees it" in contents(pair.there)["plan.txt"], "b to show it")
