# SPDX-License-Identifier: GPL-3.0-or-later
"""Findings of a check of something in use: what every look finds, and nothing that was on its way."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from holofsd.check import fsck, standing
from holofsd.check.fsck import FileCheck, examine, examine_copy
from holofsd.check.report import Report
from holofsd.check.standing import what_stands
from holofsd.core.ids import BlobHash
from holofsd.store.copies import copy_database
from holofsd.store.volume import VolumeStore
from tests.sync.devices import Device, devices

BIG = bytes(range(256)) * 200


class Looks:
    """A series of looks, each with what it finds; time passes between them, and the last one goes on for good."""

    def __init__(self, *found: set[tuple[str, str]] | Exception) -> None:
        self._found = list(found)
        self.made = 0
        self.now = 0.0

    def __call__(self) -> Report:
        found = self._found[min(self.made, len(self._found) - 1)]
        self.made += 1
        if isinstance(found, Exception):
            raise found
        report = Report(repair=False)
        for code, subject in sorted(found):
            report.add(code, subject, "Something is wrong.", fixable=True)
        return report

    def pause(self, seconds: float) -> None:
        self.now += seconds

    def told(self) -> set[tuple[str, str]]:
        report = what_stands(self, self.pause, lambda: self.now)
        return {(finding.code, subject) for finding in report.findings.values() for subject in finding.found}


def test_one_look_that_finds_nothing_is_enough() -> None:
    looks = Looks(set())
    assert looks.told() == set()
    assert looks.made == 1


@pytest.mark.parametrize("code", ["content-unlisted", "nodes-wrong", "wanted-wrong", "anything-that-comes-later"])
def test_what_only_some_looks_find_was_on_its_way_whatever_it_is(code: str) -> None:
    assert Looks({(code, "a")}, {(code, "b")}, {(code, "a")}).told() == set()
    always = ("entries-wrong", "x")
    assert Looks({(code, "a"), always}, {(code, "b"), always}, {always}).told() == {always}


def test_what_is_found_long_enough_is_told_and_work_that_never_ends_does_not_keep_it_up() -> None:
    always = ("content-lost", "x")
    busy = [{always, ("staging-stray", str(number))} for number in range(100)]
    looks = Looks(*busy)
    assert looks.told() == {always}
    assert standing._SPAN_S <= looks.now < 2 * standing._SPAN_S


def test_findings_are_compared_all_of_them_not_those_that_are_named() -> None:
    many = {("content-lost", f"{number:03}") for number in range(500)}
    shifted = {("content-lost", f"{number:03}") for number in range(30, 530)}
    assert Looks(many, shifted).told() == many & shifted


def test_a_look_that_met_a_file_which_went_begins_anew() -> None:
    assert Looks(FileNotFoundError("gone"), OSError("busy"), set()).told() == set()
    with pytest.raises(FileNotFoundError):
        Looks(FileNotFoundError("gone")).told()


# ---- real volumes
def _index_of_before(device: Device, folder: Path) -> Path:
    """The index as it was while none of the content was here yet: it is wanted, and files show nothing."""
    before = folder / "before"
    before.mkdir()
    copy_database(device.store.directory / "index.db", before / "index.db")
    (before / "content").mkdir()
    examine(device.store.volume, before, device.id, repair=True, files=FileCheck.SIZES)
    with closing(VolumeStore(device.store.volume, before)) as store:
        assert store.content.is_any_missing()
    return before / "index.db"


async def test_content_that_arrives_while_fsck_looks_is_no_problem_nor_what_follows_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with devices(tmp_path, "a") as (a,):
        a.create()
        a.write("song", BIG)
        before = _index_of_before(a, tmp_path)
        indexes = iter([before, before])

        def copied(source: Path, target: Path) -> None:
            copy_database(next(indexes, source), target)

        monkeypatch.setattr(fsck, "copy_database", copied)
        report = await asyncio.to_thread(_look, a)
        assert report.findings == {}
        assert next(indexes, None) is None, "it was looked at as often as it took"


def _look(device: Device) -> Report:
    return examine_copy(device.store.volume, device.store.directory, device.id, files=FileCheck.SIZES)


async def test_a_check_of_a_volume_in_use_takes_nothing_away_that_is_on_its_way(tmp_path: Path) -> None:
    async with devices(tmp_path, "a") as (a,):
        a.create()
        a.write("song", BIG)
        content = a.store.content
        data = b"bytes of a file that is just being saved"
        blob = BlobHash(content.keep(data))
        fresh = content.write_fresh(blob, data)
        await asyncio.to_thread(_look, a)
        content.place_fresh(fresh, blob)
        assert content.path(blob).read_bytes() == data


@pytest.fixture
def busy() -> Iterator[Callable[[Callable[[int], None]], None]]:
    """Does something over and over beside the test."""
    stop, threads = threading.Event(), []

    def begin(work: Callable[[int], None]) -> None:
        def go_on() -> None:
            turn = 0
            while not stop.is_set():
                work(turn)
                turn += 1

        threads.append(threading.Thread(target=go_on))
        threads[-1].start()

    yield begin
    stop.set()
    for thread in threads:
        thread.join()


async def test_real_damage_is_told_while_files_come_and_go(
    tmp_path: Path, busy: Callable[[Callable[[int], None]], None]
) -> None:
    async with devices(tmp_path, "a") as (a,):
        a.create()
        a.write("song", BIG)
        a.write("other", BIG[::-1])
        blob = next(row[0] for row in a.store.db.all("SELECT hash FROM content"))
        a.store.content.path(blob).unlink()
        with a.store.db.transaction():
            a.store.db.run("DELETE FROM entries WHERE name=?", (b"other",))
        staging, content = a.store.directory / "staging", a.store.directory / "content" / "ab"
        content.mkdir(exist_ok=True)

        def come_and_go(turn: int) -> None:
            for path in (staging / f"{turn:024x}", content / f"ab{turn:062x}"):
                path.write_bytes(b"x")
                path.unlink()

        busy(come_and_go)
        report = await asyncio.to_thread(_look, a)
        assert report.findings.keys() >= {"content-lost", "entries-wrong"}
        assert not report.findings.keys() & {"content-stray", "staging-stray"}
        assert report.findings["content-lost"].subjects == [blob.hex()]
