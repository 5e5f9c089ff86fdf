# SPDX-License-Identifier: GPL-3.0-or-later
"""Conflicts for people: one name, and the contents there are to choose from, with who wrote them and when."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from holofs_api.v1 import control_pb2 as pb
from holofsctl.output import moment, safe, size, table


@dataclass(frozen=True, slots=True)
class ConflictChoices:
    """`choices`: what the name shows first."""

    volume: str
    path: bytes
    choices: tuple[pb.Alternative, ...]

    def is_at(self, path: bytes) -> bool:
        """Returns whether the path is that of the name, or of a copy."""
        return bool(path) and (path == self.path or any(path == choice.path for choice in self.choices))


def grouped(found: Iterable[pb.Conflict]) -> list[ConflictChoices]:
    """The API lists copies; a person settles names."""
    names: dict[tuple[str, bytes], list[pb.Alternative]] = {}
    for copy in found:
        choices = names.setdefault((copy.volume, copy.shown_path), [copy.shown])
        choices.append(
            pb.Alternative(
                id=copy.id,
                path=copy.path,
                device=copy.device,
                written_ms=copy.written_ms,
                size=copy.size,
                kind=copy.kind,
                here=copy.here,
            )
        )
    return [ConflictChoices(volume, path, tuple(choices)) for (volume, path), choices in names.items()]


def lines_of(conflict: ConflictChoices, labels: Sequence[str] = ()) -> list[str]:
    """The name, and a line for each choice. `labels` in place of `shown` and `copy`."""
    rows = []
    for number, choice in enumerate(conflict.choices):
        label = labels[number] if labels else "copy" if number else "shown"
        rows.append((label, writer(choice), moment(choice.written_ms), _what(choice), _where(number, choice)))
    return [f"{safe(conflict.volume)}: {safe(conflict.path)}", *table(rows, indent="    ")]


def writer(choice: pb.Alternative) -> str:
    return choice.device or "an unknown device"


def _what(choice: pb.Alternative) -> str:
    return size(choice.size) if choice.kind == "file" else choice.kind


def _where(number: int, choice: pb.Alternative) -> str:
    elsewhere = "" if choice.here else " [content is on other devices]"
    if not number:
        return elsewhere.strip()
    return (safe(choice.path.rpartition(b"/")[2]) if choice.path else "(inside .git, not shown as a file)") + elsewhere


def settled_line(done: pb.SettledConflict) -> str:
    name = f"{safe(done.volume)}: {safe(done.path)}"
    if done.problem:
        return f"{name}: not settled. {safe(done.problem)}"
    if not done.HasField("kept"):
        return f"{name}: kept, and beside it " + ", ".join(safe(path.rpartition(b"/")[2]) for path in done.files)
    others = ", ".join(_by(choice) for choice in done.replaced)
    return f"{name}: kept {_by(done.kept)}; replaced {others}"


def _by(choice: pb.Alternative) -> str:
    return safe(f"that of {writer(choice)}, {moment(choice.written_ms)}")
