# SPDX-License-Identifier: GPL-3.0-or-later
"""Row while it is measured: who takes part, what was found, what went wrong."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, TypeVar

from benchmarks.caches import drop_pages_of
from benchmarks.contenders.cables import CABLES, Cable
from benchmarks.contenders.folders import FOLDERS, Folder
from benchmarks.contenders.pairs import Pair
from benchmarks.contenders.syncthing import PAIRS
from benchmarks.measuring import HOLOFS, Line, Samples, in_turn
from benchmarks.sizes import Sizes
from benchmarks.stage import Stage

Group = Literal["mount", "pair", "crowd", "cable"]
M = TypeVar("M", Folder, Pair, Cable)
_FAILURES: Final = (OSError, RuntimeError, AssertionError, ValueError, subprocess.SubprocessError)


@dataclass(frozen=True, slots=True)
class Row:
    name: str
    group: Group
    """Rows of one group can share a stage."""
    measure: Callable[[Run], None]
    lines: Callable[[Sizes], Sequence[Line]]
    baselines: tuple[str, ...] = ()
    also: str = ""
    """Another name for it, where one row of the issue is measured with another."""


@dataclass(slots=True)
class Run:
    row: str
    stage: Stage
    against: tuple[str, ...]
    """Baselines that take part, by name."""
    rounds: int
    say: Callable[[str], None]
    samples: Samples = field(default_factory=Samples)
    absent: dict[str, str] = field(default_factory=dict)
    """Baselines that failed, with the reason."""
    wrong: list[str] = field(default_factory=list)
    """Differences: what HoloFS showed and should not have, or lacked. No figure counts then."""
    remarks: list[str] = field(default_factory=list)

    @property
    def sizes(self) -> Sizes:
        return self.stage.sizes

    def add(self, contender: str, line: str, value: float) -> None:
        self.samples.add(contender, line, value)

    def remark(self, sentence: str) -> None:
        if sentence not in self.remarks:
            self.remarks.append(sentence)

    # ---- contenders
    def each_folder(self, work: Callable[[Folder, Path, int], object]) -> None:
        """`work(folder, place, round)`, in turn; `place` is a folder of this row's own in it."""
        folders = self._made(FOLDERS)

        def once(folder: Folder, number: int) -> None:
            place = folder.root / self.row
            place.mkdir(exist_ok=True)
            work(folder, place, number)
            folder.settle()

        in_turn(folders, self.rounds, lambda folder, number: self._attempt(folder, number, once))

    def each_pair(self, work: Callable[[Pair, str, int], object]) -> None:
        """`work(pair, name, round)`, in turn; `name` is of a folder that this round may make, on both sides."""

        def once(pair: Pair, number: int) -> None:
            work(pair, f"{self.row}-{number}", number)
            pair.settle()

        in_turn(self._made(PAIRS), self.rounds, lambda pair, number: self._attempt(pair, number, once))

    def each_cable(self, work: Callable[[Cable, str, int], object]) -> None:
        """`work(cable, name, round)`, in turn; `name` is of what this round may make."""

        def once(cable: Cable, number: int) -> None:
            work(cable, f"{self.row}-{number}", number)

        in_turn(self._made(CABLES), self.rounds, lambda cable, number: self._attempt(cable, number, once))

    def fill(self, make: Callable[[Path], object]) -> None:
        """Lets `make` put files into each contender's folder of this row."""

        def filled(folder: Folder) -> None:
            self.say(f"filling {folder.name}")
            folder.fill(lambda root: make(_made_folder(root / self.row)))

        for folder in self._made(FOLDERS):
            self._try(folder.name, lambda: filled(folder))  # noqa: B023 (called at once)

    def _attempt(self, contender: M, number: int, once: Callable[[M, int], None]) -> None:
        if contender.name in self.absent:
            return
        self.say(f"round {number + 1} of {self.rounds}: {contender.name}")
        os.sync()  # nobody pays for what another one wrote
        self._try(contender.name, lambda: once(contender, number))

    def _made(self, kinds: Mapping[str, type[M]]) -> list[M]:
        """HoloFS and the baselines that take part; made once for each stage."""
        found = []
        for kind in (kinds[name] for name in (HOLOFS, *self.against) if name not in self.absent):
            self._try(kind.name, lambda: found.append(self._one(kind)))  # noqa: B023 (called at once)
        return found

    def _one(self, kind: type[M]) -> M:
        kept = self.stage.kept.get(kind.__name__)
        if not isinstance(kept, kind):
            self.say(f"starting {kind.name}")
            kept = self.stage.kept[kind.__name__] = kind(self.stage)
        return kept

    def _try(self, name: str, action: Callable[[], object]) -> None:
        """A baseline that fails is left out from there on; HoloFS failing fails the row."""
        try:
            action()
        except _FAILURES as error:
            if name == HOLOFS:
                raise
            self.absent[name] = f"{error}" or type(error).__name__
            self.samples.drop(name)

    # ---- afterwards
    def expect(self, contender: str, is_so: bool, sentence: str) -> None:
        """Check that a contender shows what was written; else its figures are worth nothing."""
        if not is_so and contender == HOLOFS:
            self.wrong.append(f"{self.row}: {sentence}")
        elif not is_so:
            raise RuntimeError(sentence)

    def expect_files(self, contender: str, root: Path, files: Mapping[str, bytes]) -> None:
        wrong = [name for name, data in files.items() if _bytes(root / name) != data]
        self.expect(contender, not wrong, f"{len(wrong)} of {len(files)} files are not what was written: {wrong[:3]}")

    def expect_large(self, contender: str, path: Path, digest: str) -> None:
        """Read anew: not what the kernel remembers of the writing."""
        drop_pages_of(path)
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        self.expect(contender, found == digest, f"{path.name} has other bytes than what was written")


def digest_of(pieces: Sequence[bytes]) -> str:
    found = hashlib.sha256()
    for piece in pieces:
        found.update(piece)
    return found.hexdigest()


def _bytes(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _made_folder(path: Path) -> Path:
    path.mkdir(exist_ok=True)
    return path
