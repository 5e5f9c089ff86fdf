# SPDX-License-Identifier: GPL-3.0-or-later
"""Ordinary removals by tools never trip the brake of the other device; what a person would miss does."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.device import World
from support.trees import contents
from support.wait import until

MANY = 70
"""Files, more than the brake lets pass."""


MAKEFILE = """\
all:
\tfor n in $$(seq 70); do echo $$n > prog$$n; echo > lib$$n.so; chmod 755 prog$$n; done
clean:
\trm -f prog* *.so
\trm -rf build
"""


class Pair:
    """Two devices with one volume; the brake of the second heeds the number alone, so a small share is enough.

    `here` and `there` are the folder of one test on the first and on the second device.
    """

    def __init__(self, world: World) -> None:
        self.a, self.b = world.sharing("a", "b")
        self._all_here, self._all_there = self.a.mount(), self.b.mount()
        self.here, self.there = self._all_here, self._all_there
        self.b.ctl("brake", "docs", "--files", "50", "--percent", "0")

    def enter(self, folder: str) -> None:
        self.here, self.there = self._all_here / folder, self._all_there / folder
        self.here.mkdir()
        until(self.there.is_dir, f"{folder} to be there")

    def leave(self) -> None:
        """Compare what all tests made, and go back to the whole volume."""
        self.here, self.there = self._all_here, self._all_there
        self.agree("all of it")

    def held(self) -> int:
        return int(self.b.volume_status()["held_files"])

    def agree(self, what: str) -> None:
        """Both show the same, and nothing is held."""

        def same() -> bool:
            assert self.held() == 0, f"{what} tripped the brake"
            settled = self.a.is_settled() and self.b.is_settled()
            return settled and contents(self.here) == contents(self.there)

        until(same, f"both to show the same after {what}")
        assert self.held() == 0, f"{what} tripped the brake"


@pytest.fixture(scope="module")
def shared_pair() -> Iterator[Pair]:
    with World(limit_s=500) as world:
        yield Pair(world)


@pytest.fixture
def pair(shared_pair: Pair, request: pytest.FixtureRequest) -> Iterator[Pair]:
    """Shared, in a folder of the test's own."""
    shared_pair.enter(request.node.name)
    yield shared_pair
    shared_pair.leave()


def run(*command: str, cwd: Path) -> str:
    names = {f"GIT_{who}_{what}": "test@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    environment = {**os.environ, **names, "GIT_CONFIG_GLOBAL": "/dev/null"}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout


def write_many(folder: Path, pattern: str, count: int = MANY) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        folder.joinpath(pattern % number).write_text(f"{folder.name} {pattern % number}\n")


def repository(at: Path, pattern: str = "file-%02d") -> Path:
    at.mkdir()
    run("git", "init", "-q", "-b", "main", cwd=at)
    run("git", "config", "gc.auto", "0", cwd=at)
    write_many(at / "doc", pattern)
    run("git", "add", "-A", cwd=at)
    run("git", "commit", "-q", "-m", "all", cwd=at)
    return at


def test_git_gc_rebase_and_checkout(pair: Pair) -> None:
    tree = repository(pair.here / "work", "page-%02d.md")
    pair.agree("a new repository")
    run("git", "gc", "-q", cwd=tree)
    pair.agree("git gc")
    run("git", "checkout", "-q", "-b", "empty", cwd=tree)
    run("git", "rm", "-rq", "doc", cwd=tree)
    tree.joinpath("left.md").write_text("left")
    run("git", "add", "-A", cwd=tree)
    run("git", "commit", "-q", "-m", "without", cwd=tree)
    pair.agree("git rm")
    for branch in ("main", "empty", "main"):
        run("git", "checkout", "-q", branch, cwd=tree)
        pair.agree(f"git checkout {branch}")
    run("git", "commit", "-q", "--allow-empty", "-m", "more", cwd=tree)
    run("git", "rebase", "-q", "main", "empty", cwd=tree)
    pair.agree("git rebase")
    write_many(tree, "generated-%02d.txt.in")
    pair.agree("generated files")
    run("git", "clean", "-fdqx", cwd=tree)
    pair.agree("git clean")
    run("git", "-C", str(pair.there / "work"), "fsck", "--strict", cwd=pair.there)
    run("git", "-C", str(pair.there / "work"), "commit", "-q", "--allow-empty", "-m", "over there", cwd=pair.there)
    pair.agree("a commit on the other device")


def test_npm_ci_pip_and_make_clean(pair: Pair) -> None:
    project = pair.here / "project"
    modules = project / "web" / "node_modules"
    environment = project / ".venv" / "lib" / "python3.11" / "site-packages" / "package"
    project.mkdir()
    project.joinpath("Makefile").write_text(MAKEFILE)
    for again in range(2):
        if again:
            shutil.rmtree(modules)
            pair.agree("npm ci")
            shutil.rmtree(environment)
            pair.agree("pip install --upgrade")
        write_many(modules / "left-pad", "index-%02d.js")
        write_many(environment, "module_%02d.py")
        pair.agree("an installation")
    run("make", cwd=project)
    write_many(project / "build", "page-%02d.html")
    pair.agree("make")
    run("make", "clean", cwd=project)
    pair.agree("make clean")


def test_saves_and_short_lived_files(pair: Pair) -> None:
    folder = pair.here / "notes"
    folder.mkdir()
    (folder / "note").write_text("old")
    pair.agree("a note")
    for number in range(MANY):
        beside = folder / f"scratch {number}"
        beside.write_text("for a moment")
        until(lambda: (pair.there / "notes" / beside.name).exists(), "it to be seen over there")  # noqa: B023
        (folder / "note").rename(folder / f"note backup {number}")
        (folder / "note").write_text(f"text {number}")
        (folder / f"note backup {number}").unlink()
        beside.unlink()
    pair.agree("saves")


def test_an_archive_unpacked_once_more_and_files_put_elsewhere(pair: Pair) -> None:
    write_many(pair.here / "letters", "%02d.txt")
    pair.agree("letters")
    shutil.copytree(pair.here / "letters", pair.here / "sorted letters")
    pair.agree("copies")
    shutil.rmtree(pair.here / "letters")
    pair.agree("the removal of what was copied")


def differences(wanted: dict[str, bytes], found: dict[str, bytes]) -> list[str]:
    """Paths; raises AssertionError with them, so that who waits in vain says which."""
    paths = sorted(path for path in wanted.keys() | found.keys() if wanted.get(path) != found.get(path))
    assert not paths, f"{len(paths)}: {paths[:20]}"
    return paths


def removed_and_held(pair: Pair, folder: Path, at_least: int = MANY - 50) -> None:
    """Remove a folder; the other device holds what it does not follow, and has all that was removed."""
    shutil.rmtree(folder)
    letter = pair.here / "letter"
    letter.write_text(f"written after the removal of {folder.name}")
    until(lambda: (pair.there / "letter").read_text() == letter.read_text(), "all removals to have come")
    until(lambda: pair.held() >= at_least, f"the removal of {folder.name} to be held")


def remove_and_decide(pair: Pair, folder: Path, verdict: str, at_least: int = MANY - 50) -> None:
    before = contents(pair.there)
    removed_and_held(pair, folder, at_least)
    before["letter"] = (pair.here / "letter").read_bytes()
    below = f"{folder.relative_to(pair.here)}/"

    def shown() -> bool:
        return len([path for path in contents(pair.there) if path.startswith(below)]) >= at_least

    until(shown, "what is held to be shown")
    pair.b.ctl("brake", "docs", f"--{verdict}")
    if verdict == "refuse":
        for root in (pair.there, pair.here):
            until(lambda: not differences(before, contents(root)), "everything to be back")  # noqa: B023
    pair.agree(f"--{verdict}")


@pytest.mark.parametrize("verdict", ["accept", "refuse"])
def test_photographs_are_held_wherever_they_are(pair: Pair, verdict: str) -> None:
    tree = repository(pair.here / f"site {verdict}", "page-%02d.html")
    for folder in (pair.here / f"photos {verdict}", pair.here / f"build {verdict}" / "build", tree / "pictures"):
        write_many(folder, "IMG_%02d.JPG")
        pair.agree("photographs")
        remove_and_decide(pair, folder, verdict)


def test_a_whole_repository_is_missed(pair: Pair) -> None:
    tree = repository(pair.here / "thesis", "chapter-%02d.tex")
    pair.agree("a repository")
    remove_and_decide(pair, tree, "refuse", at_least=1)
    run("git", "-C", str(pair.there / "thesis"), "fsck", "--strict", cwd=pair.there)


def test_short_lived_files_come_and_go_while_removals_are_held(pair: Pair) -> None:
    tree = repository(pair.here / "busy")
    write_many(pair.here / "album", "IMG_%02d.JPG")
    pair.agree("an album")
    removed_and_held(pair, pair.here / "album")
    held = pair.held()
    for who, device, other in (("here", pair.here, pair.there), ("there", pair.there, pair.here)):
        work = device / "busy"
        for number in range(3):
            (work / f"{who} {number}").write_text("more")
            run("git", "add", "-A", cwd=work)
            run("git", "commit", "-q", "-m", f"{number}", cwd=work)
        run("git", "gc", "-q", cwd=work)
        head = run("git", "rev-parse", "HEAD", cwd=work)
        until(lambda: run("git", "rev-parse", "HEAD", cwd=other / "busy") == head, "the commits")  # noqa: B023
        until(lambda: contents(work) == contents(other / "busy"), "both to have one repository")  # noqa: B023
    write_many(pair.here / "new album", "IMG_%02d.JPG")
    until(lambda: len(contents(pair.there / "new album")) == MANY, "the new album")
    shutil.rmtree(pair.here / "new album")
    until(lambda: not (pair.there / "new album").exists(), "what came after the hold began to go")
    assert pair.held() == held
    assert not list(tree.rglob("*.lock"))
    pair.b.ctl("brake", "docs", "--refuse")
    until(lambda: len(contents(pair.here / "album")) == MANY, "the album to be back")
    pair.agree("--refuse")


def test_what_is_made_anew_at_held_names_ends_the_hold(pair: Pair) -> None:
    album = pair.here / "scans" / "1999"
    write_many(album, "IMG_%02d.JPG")
    pair.agree("scans")
    shutil.rmtree(pair.here / "scans")
    until(lambda: pair.held() >= MANY - 50, "the scans to be held")
    write_many(album, "IMG_%02d.JPG")
    until(lambda: pair.held() == 0, "the hold to end by itself")
    pair.agree("unpacking again")
    until(lambda: len(os.listdir(pair.there / "scans" / "1999")) == MANY, "all scans to be listed")
    until(lambda: os.listdir(pair.there / "scans") == ["1999"], "one folder to be listed")


def test_a_person_names_further_folders_to_skip(pair: Pair) -> None:
    write_many(pair.here / "renders", "frame-%02d.png")
    write_many(pair.here / "takes", "take-%02d.wav")
    pair.agree("renders")
    shown = pair.b.json("brake", "docs", "--skip", "renders", "--skip", "proxies")
    assert shown["skip"] == ["renders", "proxies"]
    assert "renders, proxies" in pair.b.ctl("brake", "docs").out
    shutil.rmtree(pair.here / "renders")
    pair.agree("the removal of a folder to skip")
    remove_and_decide(pair, pair.here / "takes", "accept")
    assert pair.b.json("brake", "docs", "--no-skip")["skip"] == []
    assert pair.b.ctl("brake", "docs", "--skip", "a/b", check=False).code == 2
