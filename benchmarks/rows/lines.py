# SPDX-License-Identifier: GPL-3.0-or-later
"""Row `bad-line`: from one machine to another over lines that lose packets. Needs the right to make networks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from benchmarks import work
from benchmarks.contenders.cables import Cable, HoloCable, Trouble
from benchmarks.measuring import Line, at_least, at_most
from benchmarks.run import Row, Run, digest_of
from benchmarks.sizes import Sizes

LINES: Final = (Trouble("no loss", 50, 0.0), Trouble("0.1 % loss", 50, 0.001), Trouble("1 % loss", 50, 0.01))
WORST: Final = Trouble("2 % loss, 200 ms", 200, 0.02)
_LARGE: Final = {"no loss": 250, "0.1 % loss": 140, "1 % loss": 40}
"""Mbit/s asked of one file."""
_SMALL: Final = 300
"""Files of 8 kB a second."""
_LONGEST_S: Final = 600.0


def bad_line(run: Run) -> None:
    """Measures one file and many small ones over each line, then one over the worst that is read as it arrives."""

    def each(cable: Cable, name: str, _number: int) -> None:
        for line in LINES:
            run.say(f"{cable.name}: {line.name}")
            cable.trouble(line)
            _large(run, cable, f"{name}-large-{line.loss}", line)
            if isinstance(cable, HoloCable):
                _small(run, cable, f"{name}-small-{line.loss}", line)
        if isinstance(cable, HoloCable):
            run.say(f"{cable.name}: {WORST.name}")
            cable.trouble(WORST)
            _worst(run, cable, f"{name}-worst")

    run.each_cable(each)


def _large(run: Run, cable: Cable, name: str, line: Trouble) -> None:
    pieces = work.random_pieces(run.sizes.line_mib)
    run.add(cable.name, f"bad-line: large, {line.name}", cable.megabits(name, pieces))
    if isinstance(cable, HoloCable):
        cable.pair.settle()
        run.expect_large(cable.name, cable.pair.there / name / "big", digest_of(pieces))


def _small(run: Run, cable: HoloCable, name: str, line: Trouble) -> None:
    files = work.spread(run.sizes.line_files, 8192)
    run.add(cable.name, f"bad-line: small, {line.name}", cable.files_a_second(name, files))
    cable.pair.settle()
    run.expect_files(cable.name, cable.pair.there / name, files)


def _worst(run: Run, cable: HoloCable, name: str) -> None:
    pieces = work.random_pieces(run.sizes.far_mib)
    work.write_large(cable.pair.here / name, pieces)
    took, failed = work.seconds_until_read(cable.pair.there / name, run.sizes.far_mib << 20, _LONGEST_S)
    run.add(cable.name, f"bad-line: read, {WORST.name}", took)
    run.add(cable.name, f"bad-line: failed reads, {WORST.name}", failed)
    cable.pair.settle()
    run.expect_large(cable.name, cable.pair.there / name, digest_of(pieces))


def _lines(_sizes: Sizes) -> Iterator[Line]:
    for line in LINES:
        yield Line(f"bad-line: large, {line.name}", "Mbit/s", (at_least(_LARGE[line.name]),))
    for line in LINES:
        yield Line(f"bad-line: small, {line.name}", "files/s", (at_least(_SMALL),))
    yield Line(f"bad-line: read, {WORST.name}", "s")
    yield Line(f"bad-line: failed reads, {WORST.name}", "reads", (at_most(0),))


ROWS = (Row("bad-line", "cable", bad_line, lambda sizes: list(_lines(sizes)), ("tcp",)),)
