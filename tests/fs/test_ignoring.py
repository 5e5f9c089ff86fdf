# SPDX-License-Identifier: GPL-3.0-or-later
"""Ignored files: what programs do with them, what other devices hear, and what becomes of them when rules change."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from holofs_api.virtual_attributes import IGNORED, STATE
from holofsd.core.errors import HoloError
from holofsd.core.ids import NodeId
from holofsd.core.node import is_alive, live_links
from holofsd.fs.content import browsing
from holofsd.fs.types import RenameFlags
from tests.fs.harness import Device, Program

RULES = ".holofsignore"
Make = Callable[..., Device]


# ---- what is seen
def ignored(device: Device) -> set[str]:
    """Paths of all ignored nodes."""
    paths = (device.volume.tree.path_of(node) for node in device.store.ignored.all())
    return {os.fsdecode(path) for path in paths if path is not None}


async def attribute(program: Program, path: str, name: bytes = STATE) -> str:
    return (await program.fs.get_xattr(program.att, await program.walk(path), name)).decode()


def look(device: Device) -> None:
    """Do what the task of the sync layer does when rules have rested."""
    after: NodeId | None = NodeId(b"")
    while after is not None:
        with device.store.db.transaction():
            after = device.volume.keeping_back.look_again(after, 2)
    assert device.store.ignored.count_doubtful() == 0


async def heard(here: Device, there: Device) -> dict[str, bytes | None]:
    """The tree of another device that has got all that is published here."""
    check(here)
    await here.settle()
    here.give_to(there)
    return await there.attach("looking").tree()


def check(device: Device) -> None:
    """Check the rules that always hold."""
    store = device.store
    ignored = set(store.ignored.all())
    assert not ignored & set(store.outbox.all())
    assert not [node for node in ignored if store.documents.is_known(node)]
    assert store.ignored.is_any == bool(ignored)
    for state in device.states():
        if state.id not in ignored and is_alive(state):
            parents = {link.place.parent for link in live_links(state).values() if link.place is not None}
            assert not parents & ignored, "others have the folder of each file"


async def many(program: Program, *paths: str) -> None:
    """Folders end with a slash."""
    for path in paths:
        if path.endswith("/"):
            await program.mkdir(path[:-1])
        else:
            await program.write(path, path.encode())


# ---- the list
async def test_what_is_ignored_is_listed_by_the_topmost_names_with_size_and_rule(
    make_device: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(browsing, "_IGNORED_SLICE", 2)
    device = make_device("here")
    program = device.attach()
    await program.write(RULES, b"*.o\n/build/\n")
    await many(program, "a.c", "a.o", "sub/", "sub/b.o", "build/", "build/x/", "build/x/1", "build/x/2", "build/3")
    listing = await device.fs.browsing.ignored(0)
    found = [(one.path, one.kind, one.size, one.rule) for one in listing.files]
    assert [(path, kind, rule) for path, kind, _, rule in found] == [
        (b"a.o", "file", ".holofsignore:1: *.o"),
        (b"build", "directory", ".holofsignore:2: /build/"),
        (b"sub/b.o", "file", ".holofsignore:1: *.o"),
    ]
    assert (found[0][2], listing.complete, listing.ignored) == (3, True, 5)
    part = await device.fs.browsing.ignored(2)
    assert (len(part.files), part.complete, part.ignored) == (2, False, 5)
    await program.unlink(RULES)
    assert {one.rule for one in (await device.fs.browsing.ignored(0)).files} == {""}
    look(device)
    assert (await device.fs.browsing.ignored(0)).files == ()


# ---- new files
async def test_a_new_file_that_a_rule_matches_stays_here_and_is_durable(make_device: Make) -> None:
    here, there = make_device("here"), make_device("there")
    program = here.attach()
    await program.write(RULES, b"*.o\nnode_modules/\n")
    await many(program, "a.c", "a.o", "node_modules/", "node_modules/x/", "node_modules/x/index.js")
    await program.write("big.o", b"x" * 100_000)
    await program.symlink("x", "node_modules/link")
    assert await attribute(program, "a.o") == await attribute(program, "node_modules/x") == "ignored"
    assert await attribute(program, "a.o", IGNORED) == ".holofsignore:1: *.o"
    assert await attribute(program, "node_modules/x/index.js", IGNORED) == ".holofsignore:2: node_modules/"
    assert set(await heard(here, there)) == {RULES, "a.c"}
    assert (here.fs.census().ignored, here.fs.census().ignored_bytes) == (3, 100_000 + 3 + 23)
    assert here.store.outbox.count() == 0, "nothing waits for them"
    before = await program.tree()
    here.restart()
    program = here.attach()
    await here.fs.hasher.drain()
    assert await program.tree() == before
    await program.write("later.o", b"after the restart")
    assert ignored(here) >= {"a.o", "big.o", "later.o", "node_modules/x/index.js"}
    assert set(await heard(here, there)) == {RULES, "a.c"}


async def test_programs_do_with_them_what_they_do_with_any_file(make_device: Make) -> None:
    here, there = make_device("here"), make_device("there")
    program = here.attach()
    await program.write(RULES, b"/build/\n")
    await many(program, "build/", "build/a", "build/sub/", "build/sub/b")
    await program.chmod("build/a", 0o755)
    await program.append("build/a", b" and more")
    await program.truncate("build/sub/b", 3)
    await program.utime("build/a", 5 * 10**9)
    await program.link("build/a", "build/sub/same")
    await program.rename("build/sub", "build/other")
    await program.write("build/tmp", b"saved")
    await program.rename("build/tmp", "build/other/b")
    await program.rename("build/a", "build/other/b", RenameFlags.EXCHANGE)
    assert await program.tree("build") == {
        "build/a": b"saved",
        "build/other": None,
        "build/other/b": b"build/a and more",
        "build/other/same": b"build/a and more",
    }
    look(here)
    assert set(await heard(here, there)) == {RULES}
    nodes = here.store.ignored.all()
    await here.settle()
    for path in ("build/other/same", "build/other/b", "build/a"):
        await program.unlink(path)
    await program.rmdir("build/other")
    await program.rmdir("build")
    check(here)
    assert here.store.ignored.all() == []
    assert not any(here.store.nodes.exists(node) for node in nodes), "no trash, no tombstone"
    assert here.store.outbox.count() == 0
    assert set(await heard(here, there)) == {RULES}


async def test_versions_and_places_of_ignored_files_leave_no_history(device: Device, program: Program) -> None:
    await program.write(RULES, b"*.log\n")
    await program.write("a.log", b"first")
    node = device.node_at("a.log")
    for number in range(3):
        device.clock.advance(120)
        await program.write("a.log", b"%d" % number)
        await program.rename("a.log", f"{number}.log")
        await program.rename(f"{number}.log", "a.log")
    assert device.store.history.of_node(node) == []
    assert device.store.history.places_of(node) == []
    device.clock.advance(120)
    await program.unlink("a.log")
    assert not device.store.nodes.exists(node)
    check(device)


async def test_a_file_that_is_written_first_and_gets_an_ignored_name_then_is_ignored(make_device: Make) -> None:
    here, there = make_device("here"), make_device("there")
    program = here.attach()
    await program.write(RULES, b".env\n")
    await program.write("tmp1", b"secret 1")
    await program.rename("tmp1", ".env")
    assert set(await heard(here, there)) == {RULES}
    await program.write("tmp2", b"secret 2")
    await here.settle()
    await program.rename("tmp2", ".env")
    assert await program.read(".env") == b"secret 2"
    assert ignored(here) == {".env"}
    assert set(await heard(here, there)) == {RULES}, "the temporary file went"


@pytest.mark.parametrize("by_backup", [True, False])
async def test_saving_an_ignored_file_publishes_nothing(make_device: Make, by_backup: bool) -> None:
    here, there = make_device("here"), make_device("there")
    program = here.attach()
    await program.write(RULES, b".env\n")
    await program.write(".env", b"secret")
    if by_backup:
        await program.rename(".env", ".env~")
    else:
        await program.unlink(".env")
    await program.write(".env", b"new secret")
    assert set(await heard(here, there)) == {RULES}
    if by_backup:
        assert here.store.outbox.count() > 0, "it would be published soon"
        await program.unlink(".env~")
    look(here)
    assert ignored(here) == {".env"}
    assert set(await heard(here, there)) == {RULES}


# ---- names that come and go
async def test_what_is_moved_out_of_an_ignored_folder_is_published_with_its_folders(make_device: Make) -> None:
    here, there = make_device("here"), make_device("there")
    program = here.attach()
    await many(program, "kept/")
    await program.write(RULES, b"out/\n*.o\n")
    await many(program, "out/", "out/a", "out/d/", "out/d/b", "out/d/c.o")
    await program.rename("out/a", "kept/a")
    await program.rename("out/d", "d")
    assert set(await heard(here, there)) == {RULES, "kept"}, "not at once"
    look(here)
    assert set(await heard(here, there)) == {RULES, "kept", "kept/a", "d", "d/b"}
    assert ignored(here) == {"out", "d/c.o"}
    state = here.volume.tree.state(here.node_at("kept/a"))
    assert state is not None
    assert [link.before for link in state.links.values()] == [None], "where it was stays here"


async def test_what_was_published_stays_published_in_an_ignored_folder(make_device: Make) -> None:
    here, there = make_device("here"), make_device("there")
    program = here.attach()
    await many(program, "doc", "folder/", "folder/in")
    await here.settle()
    await program.write(RULES, b"out/\n")
    await many(program, "out/", "out/sub/", "out/sub/mine", "out/other")
    await program.rename("doc", "out/sub/doc")
    await program.rename("folder", "out/folder")
    await program.write("out/folder/new", b"new")
    look(here)
    expected = {RULES, "out", "out/sub", "out/sub/doc", "out/folder", "out/folder/in"}
    assert set(await heard(here, there)) == expected
    assert ignored(here) == {"out/sub/mine", "out/other", "out/folder/new"}
    assert await attribute(program, "out/sub/doc") == "published"
    assert await attribute(program, "out/sub/doc", IGNORED) == ".holofsignore:1: out/"


async def test_a_hard_link_outside_publishes_the_file_under_all_its_names(make_device: Make) -> None:
    here, there = make_device("here"), make_device("there")
    program = here.attach()
    await program.write(RULES, b"out/\n")
    await many(program, "out/", "out/a", "out/b")
    await program.link("out/a", "a")
    look(here)
    assert set(await heard(here, there)) == {RULES, "a", "out", "out/a"}
    assert ignored(here) == {"out/b"}


async def test_renames_over_a_file_are_writes_to_the_file_at_that_name(make_device: Make) -> None:
    here, there = make_device("here"), make_device("there")
    program = here.attach()
    await program.write(RULES, b"*.o\n")
    await many(program, "a.o", "b.o", "plain", "other")
    await here.settle()
    await program.rename("a.o", "plain")
    await program.rename("other", "b.o")
    look(here)
    assert await heard(here, there) == {RULES: b"*.o\n", "plain": b"a.o"}
    assert await program.read("b.o") == b"other"
    assert ignored(here) == {"b.o"}


# ---- rules that change
async def test_a_rule_that_comes_later_changes_nothing_for_files_that_are_there(make_device: Make) -> None:
    here, there = make_device("here"), make_device("there")
    program = here.attach()
    await many(program, "node_modules/", "node_modules/old", "x.o")
    before = await heard(here, there)
    await program.write(RULES, b"*.o\nnode_modules/\n")
    look(here)
    assert set(await heard(here, there)) == {*before, RULES}
    await program.write("x.o", b"written again")
    await program.chmod("x.o", 0o600)
    await program.write("node_modules/new", b"x")
    found = await heard(here, there)
    assert (set(found), found["x.o"]) == ({*before, RULES}, b"written again")
    assert await attribute(program, "x.o", IGNORED) == ".holofsignore:1: *.o"
    await program.unlink("x.o")
    assert "x.o" not in await heard(here, there), "a person removed it"
    here.clock.advance(60)
    await program.write("x.o", b"made anew")
    assert "x.o" not in await heard(here, there)
    assert ignored(here) == {"x.o", "node_modules/new"}


async def test_files_that_no_rule_matches_any_more_are_published_also_after_a_crash(make_device: Make) -> None:
    here, there = make_device("here"), make_device("there")
    program = here.attach()
    await program.write(RULES, b"out/\n*.o\n")
    await many(program, "out/", "out/d/", *(f"out/d/{number}" for number in range(7)), "x.o")
    await here.settle()
    await program.unlink(RULES)
    assert here.store.outbox.count() > 0, "`wait` waits for them"
    with here.store.db.transaction():
        assert here.volume.keeping_back.look_again(NodeId(b""), 3) is not None
    check(here)
    here.restart()
    program = here.attach()
    assert here.store.ignored.count_doubtful() > 0
    look(here)
    assert here.store.ignored.all() == []
    assert await heard(here, there) == await program.tree()
    await program.write("y.o", b"")
    assert "y.o" in await heard(here, there)


async def test_rules_that_vanish_for_a_moment_publish_nothing(make_device: Make) -> None:
    here, there = make_device("here"), make_device("there")
    program = here.attach()
    await program.write(RULES, b"*.o\n")
    await program.write("x.o", b"x")
    await program.unlink(RULES)
    await program.write(RULES, b"")
    await program.write("new", b"*.o\n*.a\n")
    await program.rename("new", RULES)
    look(here)
    assert set(await heard(here, there)) == {RULES}


async def test_rules_of_subfolders_and_negated_ones(make_device: Make) -> None:
    here, there = make_device("here"), make_device("there")
    program = here.attach()
    await many(program, "sub/", "sub/deep/")
    await program.write(RULES, b"*.log\n/top\n*\n!sub\n!*.txt\n!keep*\n")
    await program.write(f"sub/{RULES}", b"!*.log\n/only\n")
    await many(program, "top", "a.log", "b.txt", "keep.log", "sub/a.log", "sub/only", "sub/deep/only", "sub/c.txt")
    assert set(await heard(here, there)) >= {RULES, f"sub/{RULES}", "b.txt", "keep.log", "sub/a.log", "sub/c.txt"}
    assert ignored(here) == {"top", "a.log", "sub/only", "sub/deep/only"}
    await program.write(f"sub/{RULES}", b"")
    await program.rename("sub/only", "sub/keep-only")
    look(here)
    assert await attribute(program, "sub/keep-only") in ("unpublished", "published")


async def test_a_moved_folder_takes_its_own_rules_along_and_leaves_those_of_others(make_device: Make) -> None:
    here, there = make_device("here"), make_device("there")
    program = here.attach()
    await many(program, "p/", "p/src/")
    await program.write(f"p/{RULES}", b"/src/*.o\n")
    await program.write(f"p/src/{RULES}", b"*.own\n")
    await many(program, "p/src/a.o", "p/src/b.own")
    await program.rename("p/src", "src")
    look(here)
    assert set(await heard(here, there)) == {"p", f"p/{RULES}", "src", f"src/{RULES}", "src/a.o"}
    assert ignored(here) == {"src/b.own"}


@pytest.mark.parametrize("rules", [b"*\n", b"*.o\n" + b"#" * 70_000])
async def test_rules_travel_whatever_they_say_and_too_large_ones_release_nothing(
    make_device: Make, rules: bytes
) -> None:
    here, there = make_device("here"), make_device("there")
    program = here.attach()
    await program.write(RULES, b"*.o\n")
    await program.write("x.o", b"x")
    await program.write(RULES, rules)
    await here.settle()
    look(here)
    assert await heard(here, there) == {RULES: rules}


# ---- other devices
async def test_rules_in_conflict_ignore_what_one_of_them_ignores_until_it_is_settled(make_device: Make) -> None:
    here, there = make_device("here"), make_device("there")
    program, other = here.attach(), there.attach()
    await program.write(RULES, b"")
    here.give_to(there)
    await program.write(RULES, b"*.here\n")
    await program.write("a.here", b"")
    there.clock.advance(60)
    await other.write(RULES, b"*.there\n")
    there.give_to(here)
    await program.write("a.there", b"")
    await program.write("b.here", b"")
    look(here)
    assert ignored(here) == {"a.here", "b.here", "a.there"}
    (copy,) = [name for name in await program.names() if "conflict" in name]
    await program.unlink(copy)
    look(here)
    assert ignored(here) == {"a.there"}, "of the two the later one stayed"


async def test_a_name_that_comes_from_elsewhere_too_is_there_beside_the_ignored_one(make_device: Make) -> None:
    here, there = make_device("here"), make_device("there")
    program, other = here.attach(), there.attach()
    await program.write(RULES, b".env\nnode_modules/\n")
    await many(program, "node_modules/", "node_modules/mine")
    await program.write(".env", b"here")
    await other.write(".env", b"there")
    await many(other, "node_modules/", "node_modules/theirs")
    there.give_to(here)
    found = await program.tree()
    assert {b"here", b"there"} <= set(found.values())
    assert {"node_modules/mine", "node_modules/theirs"} <= set(found)
    await program.write("node_modules/later", b"")
    look(here)
    told = await heard(here, there)
    assert set(told) == {RULES, ".env", "node_modules", "node_modules/theirs"}
    assert told[".env"] == b"there"


async def test_a_folder_removed_elsewhere_stays_for_ignored_files_and_comes_back_nowhere(make_device: Make) -> None:
    here, there = make_device("here"), make_device("there")
    program, other = here.attach(), there.attach()
    await many(program, "p/", "p/sub/", "p/sub/doc")
    await program.write(RULES, b"*.o\n")
    await heard(here, there)
    await program.write("p/sub/x.o", b"mine")
    await other.unlink("p/sub/doc")
    await other.rmdir("p/sub")
    await other.rmdir("p")
    there.give_to(here)
    assert await program.tree("p") == {"p/sub": None, "p/sub/x.o": b"mine"}
    with here.store.db.transaction():
        assert not here.volume.reassert_revived()
    look(here)
    assert set(await heard(here, there)) == {RULES}
    await program.write("p/sub/y.o", b"mine, too")
    assert set(await heard(here, there)) == {RULES}
    await program.write("p/new", b"for all")
    assert set(await heard(here, there)) == {RULES, "p", "p/new"}
    await program.unlink("p/sub/x.o")
    await program.unlink("p/sub/y.o")
    assert await program.tree("p") == {"p/new": b"for all"}


async def test_a_conflict_copy_of_an_ignored_file_is_ignored_too(make_device: Make) -> None:
    here, there = make_device("here"), make_device("there")
    program, stale = here.attach("one"), here.attach("two")
    await program.write(RULES, b".env\n")
    await program.write(".env", b"first")
    base = (await stale.stat(".env")).version
    await program.write(".env", b"second")
    handle = await stale.open(".env", write=True, base=base)
    await stale.commit(handle, b"third", base=base)
    await stale.release(handle)
    copies = [name for name in await program.names() if "conflict" in name]
    for copy in copies:
        await program.write(copy, b"a file of its own")
        assert await attribute(program, copy) == "ignored"
    look(here)
    assert set(await heard(here, there)) == {RULES}


async def test_a_record_of_an_ignored_node_ends_that(make_device: Make) -> None:
    """A restored backup of the index: the node was published since."""
    here, there = make_device("here"), make_device("there")
    program = here.attach()
    await program.write(RULES, b"out/\n")
    await many(program, "out/", "out/a")
    state = here.volume.tree.state(here.node_at("out/a"))
    assert state is not None
    with here.store.db.transaction():
        here.volume.merge([state])
    check(here)
    assert ignored(here) == set()
    assert set(await heard(here, there)) == {RULES, "out", "out/a"}


# ---- at random
PATTERNS = (
    *("*.o", "*", "/a", "b/", "a/b", "/b/*", "**/c", "a/**", "c/**/d", "!*.o", "!a", "!b/", "!/a/b", "!*/", "!*.txt"),
    *("?.txt", "[a-c].o", "\\!x", "*.t?t", "!**/c", "d*/"),
)
WORK = ("write", "write", "mkdir", "mkdir", "rename", "rename", "unlink", "rmdir", "link", "more")
NAMES = ("a", "b", "c", "d", "x.o", "a.o", "q.txt", "!x")


def git(*arguments: str) -> str:
    command = ["git", "-c", "core.excludesFile=/dev/null", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("seed", range(3))
async def test_the_same_files_are_ignored_as_by_git(seed: int, make_device: Make, tmp_path: Path) -> None:
    chance, device, top = random.Random(seed), make_device(), tmp_path / "git"
    program = device.attach()
    git("init", "-q", str(top))
    folders = [""]
    rules = "\n".join(chance.choices(PATTERNS, k=4))
    await program.write(RULES, rules.encode())
    (top / ".gitignore").write_text(rules)
    files: set[str] = set()
    while len(folders) < 7:
        path = f"{chance.choice(folders)}/{chance.choice('abcd')}".lstrip("/")
        if (top / path).exists():
            continue
        await program.mkdir(path)
        (top / path).mkdir()
        folders.append(path)
        if chance.random() < 0.4:
            rules = "\n".join(chance.choices(PATTERNS, k=2))
            await program.write(f"{path}/{RULES}", rules.encode())
            (top / path / ".gitignore").write_text(rules)
    for folder in folders:
        for name in NAMES:
            path = f"{folder}/{name}".lstrip("/")
            if not (top / path).exists():
                await program.write(path, b"")
                (top / path).touch()
                files.add(path)
    listed = git("-C", str(top), "ls-files", "-z", "--others", "--exclude-standard")
    assert files - ignored(device) == files & {*listed.split("\0")}


class _Life:
    """Random work of one device, and what another one hears."""

    def __init__(self, seed: int, here: Device, there: Device) -> None:
        self.chance = random.Random(seed)
        self.here, self.there = here, there
        self.program = here.attach()

    def _path(self) -> str:
        depth = self.chance.choice((0, 0, 1, 1, 2))
        return "/".join(
            [*self.chance.choices(("a", "b", "out"), k=depth), self.chance.choice(("a", "out", "x.o", "t"))]
        )

    async def step(self) -> None:
        program, path, other = self.program, self._path(), self._path()
        work = self.chance.choice(WORK)
        if work == "write":
            await program.write(path, other.encode())
        elif work == "mkdir":
            await program.mkdir(path)
        elif work == "rename":
            await program.rename(path, other)
        elif work == "unlink":
            await program.unlink(path)
        elif work == "rmdir":
            await program.rmdir(path)
        elif work == "link":
            await program.link(path, other)
        else:
            await self._more()

    async def _more(self) -> None:
        what = self.chance.randrange(5)
        if what == 0:
            folder = self.chance.choice(("", "a/", "out/"))
            await self.program.write(folder + RULES, self.chance.choice((b"", b"out/", b"*.o", b"/a/*", b"out\n!t")))
        elif what == 1:
            look(self.here)
        elif what == 2:
            self.here.restart()
            self.program = self.here.attach()
        elif what == 3:
            self.here.clock.advance(self.chance.choice((5, 100)))
        else:
            await self.compare()

    async def compare(self) -> None:
        """The other device shows what is published, each file in its folder."""
        look(self.here)
        found = await heard(self.here, self.there)
        mine, hidden = await self.program.tree(), ignored(self.here)
        assert found == {path: data for path, data in mine.items() if path not in hidden}


@pytest.mark.parametrize("seed", range(4))
async def test_others_have_all_but_what_is_ignored_whatever_is_done(seed: int, make_device: Make) -> None:
    life = _Life(seed, make_device("here"), make_device("there"))
    for _ in range(150):
        try:
            await life.step()
        except HoloError:
            continue
        check(life.here)
    await life.compare()
    for path in [path for path in await life.program.tree() if path.rpartition("/")[2] == RULES]:
        await life.program.unlink(path)
    look(life.here)
    assert ignored(life.here) == set()
    assert await heard(life.here, life.there) == await life.program.tree()
