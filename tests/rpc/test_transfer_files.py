# SPDX-License-Identifier: GPL-3.0-or-later
"""Import and export on the side of the command: content of files, and what is written where an export goes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from blake3 import blake3

from holofs_api.v1 import control_pb2 as pb
from holofsctl.progress import Progress
from holofsctl.transfer import copying
from holofsctl.transfer.exporting import Exporter
from holofsctl.transfer.handover import Handover, Orders
from holofsctl.transfer.importing import Importer
from holofsctl.transfer.report import TransferReport
from holofsctl.transfer.taking import CannotTake, Taker, opened

DATA = os.urandom(100_000)
TIME_NS = 1_500_000_000_123_456_789


def no_tick(_amount: int) -> None:
    pass


def test_a_copy_keeps_holes_and_has_the_hash_of_the_whole(tmp_path: Path) -> None:
    size = 40 << 20
    source = tmp_path / "source"
    with source.open("wb") as file:
        file.seek(8 << 20)
        file.write(DATA)
        file.truncate(size)
    ticks: list[int] = []
    with source.open("rb") as one, (tmp_path / "copy").open("w+b") as other:
        hash = copying.copy(one.fileno(), other.fileno(), size, ticks.append)
        assert hash == copying.hash_of(one.fileno(), size, no_tick) == blake3(source.read_bytes()).digest()
    copy = tmp_path / "copy"
    assert copy.read_bytes() == source.read_bytes()
    assert copy.stat().st_blocks * 512 < 4 << 20
    assert sum(ticks) == size


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "staging"
    found.mkdir()
    return found


def taker(folder: Path, *, move: bool = False, hashes: bool = False) -> Taker:
    return Taker(os.fsencode(folder), 4096, move, hashes, no_tick)


def test_content_is_read_linked_or_copied(folder: Path, tmp_path: Path) -> None:
    large, small = tmp_path / "large", tmp_path / "small"
    large.write_bytes(DATA)
    small.write_bytes(b"small")
    taken = taker(folder).take(os.fsencode(small), small.stat(), no_tick)
    assert (taken.data, taken.staging, taken.hash) == (b"small", "", blake3(b"small").digest())
    taken = taker(folder).take(os.fsencode(large), large.stat(), no_tick)
    assert taken.how in ("cloned", "copied")
    assert (folder / taken.staging).read_bytes() == DATA
    moved = taker(folder, move=True, hashes=True).take(os.fsencode(large), large.stat(), no_tick)
    assert (moved.how, moved.hash) == ("moved", blake3(DATA).digest())
    assert (folder / moved.staging).samefile(large)
    with large.open("ab"), pytest.raises(CannotTake, match="open for writing"):
        taker(folder, move=True).take(os.fsencode(large), large.stat(), no_tick)
    taker(folder).drop(moved)
    assert (large.read_bytes(), large.stat().st_nlink) == (DATA, 1)


def test_a_file_that_changes_meanwhile_is_left_out(folder: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(DATA)

    def write(_amount: int) -> None:
        with source.open("ab") as file:
            file.write(b"more")

    with pytest.raises(CannotTake, match="changes while it is read"):
        taker(folder, hashes=True).take(os.fsencode(source), source.stat(), write)
    assert not list(folder.iterdir())


def test_nothing_but_the_file_that_was_seen_is_opened(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"seen")
    seen = source.stat()
    source.rename(tmp_path / "elsewhere")
    source.symlink_to("elsewhere")
    with pytest.raises(CannotTake, match="cannot be read"), opened(os.fsencode(source), seen):
        pass
    source.unlink()
    os.mkfifo(source)
    with pytest.raises(CannotTake, match="something else took its place"), opened(os.fsencode(source), seen):
        pass


# ---- import
class ObedientDaemon:
    """Exchange with a daemon that has nothing yet and takes everything in. `interrupts`: Ctrl-C while the reply to the
    first batch is waited for."""

    def __init__(self, folder: Path, interrupts: bool = False) -> None:
        self._folder = folder
        self._interrupts = interrupts
        self._requests: list[pb.ImportRequest] = []
        self.there: dict[bytes, pb.FoundName] = {b"": pb.FoundName(kind="directory")}
        self.taken: list[str] = []

    def send(self, request: pb.ImportRequest) -> None:
        self._requests.append(request)

    def receive(self) -> pb.ImportReply:
        request = self._requests[0]
        asked = request.WhichOneof("request")
        if asked == "items" and self._interrupts:
            self._interrupts = False
            raise KeyboardInterrupt
        del self._requests[0]
        if asked == "begin":
            return pb.ImportReply(begun=pb.ImportBegun(folder=os.fsencode(self._folder)))
        if asked == "look":
            found = [self.there.get(name.path, pb.FoundName(path=name.path)) for name in request.look.names]
            return pb.ImportReply(found=pb.ImportFound(names=found))
        if asked == "taken":
            self.taken += request.taken.staging
            return pb.ImportReply(done=pb.ImportDone())
        results = [pb.ImportResult(path=item.path, what="imported") for item in request.items.items]
        for item in request.items.items:
            data = (self._folder / item.staging).read_bytes() if item.staging else item.data
            found = pb.FoundName(path=item.path, kind=item.kind, size=len(data), hash=blake3(data).digest(), here=True)
            self.there[item.path] = found
        return pb.ImportReply(results=pb.ImportResults(results=results))


def moved(daemon: ObedientDaemon, source: Path) -> TransferReport:
    report, orders = TransferReport(lambda _told: None), Orders(move=True)
    handover = Handover(daemon, report, orders, "docs")  # type: ignore[arg-type]
    importer = Importer(handover, report, orders, Progress(""), {})
    try:
        importer.run(os.fsencode(source), b"")
    except KeyboardInterrupt:
        report.problems += 1
    return report


def test_an_interrupted_move_hears_what_became_of_its_batch_and_a_second_one_goes_on(
    folder: Path, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    (source / "d").mkdir(parents=True)
    for name in ("a", "b", "d/c"):
        (source / name).write_bytes(os.urandom(5_000))
    (source / "small").write_bytes(b"small")
    daemon = ObedientDaemon(folder, interrupts=True)
    report = moved(daemon, source)
    # Those that were moved are gone here. Small ones are compared first, and there was no time for it.
    assert (report.files, report.removed, report.problems, len(daemon.taken)) == (4, 3, 1, 3)
    assert [path.name for path in source.rglob("*") if path.is_file()] == ["small"]
    assert sorted(daemon.there) == [b"", b"a", b"b", b"d", b"d/c", b"small"]
    report = moved(daemon, source)
    assert (report.files, report.same, report.removed, report.problems) == (0, 1, 1, 0)
    assert list(source.iterdir()) == []


# ---- export
class Out:
    """A folder to which some items are exported, and what is told of it."""

    def __init__(self, root: Path) -> None:
        self.told: list[str] = []
        self.root = root / "out"
        self.root.mkdir()
        (root / "content").write_bytes(DATA)
        self._content = os.fsencode(root / "content")

    def file(self, path: bytes, data: bytes = b"", node: bytes = b"") -> pb.ExportItem:
        large = data is DATA
        return pb.ExportItem(
            path=path,
            kind="file",
            mode=0o640,
            mtime_ns=TIME_NS,
            size=len(data),
            hash=blake3(data).digest(),
            data=b"" if large else data,
            file=self._content if large else b"",
            node=node,
        )

    def run(self, *items: pb.ExportItem, verify: bool = False) -> TransferReport:
        report = TransferReport(self.told.append)
        Exporter(os.fsencode(self.root), report, Progress(""), verify=verify).run(items)
        return report

    def library(self) -> tuple[pb.ExportItem, ...]:
        return (
            pb.ExportItem(path=b"d", kind="directory", mode=0o550, mtime_ns=TIME_NS),
            self.file(b"d/large", DATA, b"node"),
            self.file(b"d/small", b"small"),
            pb.ExportItem(path=b"link", kind="symlink", target=b"d/small", mtime_ns=TIME_NS),
            self.file(b"other name", DATA, b"node"),
        )


@pytest.fixture
def out(tmp_path: Path) -> Out:
    return Out(tmp_path)


def test_an_export_has_content_times_modes_symlinks_and_hard_links(out: Out) -> None:
    report = out.run(*out.library())
    assert (report.files, report.folders, report.symlinks, report.links, report.problems) == (2, 1, 1, 1, 0)
    large, folder = out.root / "d" / "large", out.root / "d"
    assert large.read_bytes() == DATA
    assert large.samefile(out.root / "other name")
    assert (large.stat().st_mode & 0o777, large.stat().st_mtime_ns) == (0o640, TIME_NS)
    assert (folder.stat().st_mode & 0o777, folder.stat().st_mtime_ns) == (0o550, TIME_NS)
    assert os.readlink(out.root / "link") == "d/small"
    assert {path.name for path in folder.iterdir()} == {"large", "small"}


@pytest.mark.parametrize("verify", [False, True])
def test_a_second_export_goes_on_and_replaces_nothing(out: Out, verify: bool) -> None:
    out.run(*out.library())
    (out.root / "d" / "large").unlink()
    (out.root / "d" / "small").write_bytes(b"edits")
    (out.root / "link").unlink()
    (out.root / "link").mkdir()
    report = out.run(*out.library(), verify=verify)
    assert (report.files, report.same, report.problems) == (1, 2, 2)
    assert (out.root / "d" / "small").read_bytes() == b"edits"
    assert [line.rpartition("/")[2] for line in out.told] == [
        "small: it is not exported, because something else is there.",
        "link: it is not exported, because something else is there.",
    ]


def test_damaged_content_and_what_cannot_be_had_are_told_and_the_rest_is_exported(out: Out) -> None:
    wrong = out.file(b"wrong", DATA)
    wrong.hash = bytes(32)
    gone = out.file(b"gone", DATA)
    gone.file = os.fsencode(out.root / "not there")
    away = pb.ExportItem(path=b"away", kind="file", problem="No device that can be reached has it.")
    (out.root / "e").write_bytes(b"")
    below = (pb.ExportItem(path=b"e", kind="directory", mode=0o755), out.file(b"e/f", b"x"))
    report = out.run(wrong, gone, away, *below, out.file(b"good", b"good"), verify=True)
    assert (report.files, report.problems) == (1, 4)
    assert {path.name for path in out.root.iterdir()} == {"e", "good"}
