# SPDX-License-Identifier: GPL-3.0-or-later
"""Random work of one device on its mount, with a model of what must be there afterwards.

Each device has a folder of its own, which only it changes: there the model is exact. In the common folder every device
writes files with names that nobody else uses and that are never removed (those must survive), and fights over some
names, where only agreement is asked for.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Model:
    """Relative path -> bytes of a file, or None for a directory."""

    exact: dict[str, bytes | None] = field(default_factory=dict)
    survivors: dict[str, bytes] = field(default_factory=dict)


class Worker:
    def __init__(self, name: str, root: Path, seed: int) -> None:
        self.name, self.root = name, root
        self.model = Model()
        self._random = random.Random(f"{seed} {name}")
        self._number = 0
        self._weighted: list[tuple[Callable[[], None], int]] = [
            (self._write, 10),
            (self._append, 5),
            (self._replace, 5),
            (self._rename, 4),
            (self._unlink, 3),
            (self._make_directory, 2),
            (self._rename_directory, 1),
            (self._common_new, 4),
            (self._common_fight, 4),
        ]

    def prepare(self) -> None:
        self.root.joinpath(self.name).mkdir()
        self.root.joinpath("common").mkdir(exist_ok=True)
        self.model.exact[self.name] = None

    def step(self) -> None:
        actions, weights = zip(*self._weighted, strict=True)
        self._random.choices(actions, weights)[0]()

    # ---- the own folder ----
    def _files(self) -> list[str]:
        return sorted(path for path, data in self.model.exact.items() if data is not None)

    def _directories(self) -> list[str]:
        return sorted(path for path, data in self.model.exact.items() if data is None)

    def _bytes(self) -> bytes:
        # Inline, just above it, and large enough for a staging file.
        size = self._random.choice([0, 10, 4000, 4200, 20_000, 70_000, 400_000])
        return self._random.randbytes(size)

    def _new_name(self, folder: str) -> str:
        self._number += 1
        return f"{folder}/{self._number}"

    def _write(self) -> None:
        files = self._files()
        fresh = not files or self._random.random() < 0.5
        path = self._new_name(self._random.choice(self._directories())) if fresh else self._random.choice(files)
        data = self._bytes()
        self.root.joinpath(path).write_bytes(data)
        self.model.exact[path] = data

    def _append(self) -> None:
        for path in self._some_file():
            data = self._bytes()
            with self.root.joinpath(path).open("ab") as file:
                file.write(data)
            self.model.exact[path] = (self.model.exact[path] or b"") + data

    def _replace(self) -> None:
        """Save a file as an editor does."""
        for path in self._some_file():
            data = self._bytes()
            temporary = self.root / (path + ".tmp")
            temporary.write_bytes(data)
            os.rename(temporary, self.root / path)
            self.model.exact[path] = data

    def _rename(self) -> None:
        for path in self._some_file():
            target = self._new_name(self._random.choice(self._directories()))
            os.rename(self.root / path, self.root / target)
            self.model.exact[target] = self.model.exact.pop(path)

    def _unlink(self) -> None:
        for path in self._some_file():
            self.root.joinpath(path).unlink()
            del self.model.exact[path]

    def _make_directory(self) -> None:
        if len(self._directories()) < 12:
            path = self._new_name(self._random.choice(self._directories()))
            self.root.joinpath(path).mkdir()
            self.model.exact[path] = None

    def _rename_directory(self) -> None:
        movable = [path for path in self._directories() if path != self.name]
        if not movable:
            return
        path = self._random.choice(movable)
        targets = [other for other in self._directories() if other != path and not other.startswith(path + "/")]
        target = self._new_name(self._random.choice(targets))
        os.rename(self.root / path, self.root / target)
        for known in list(self.model.exact):
            if known == path or known.startswith(path + "/"):
                self.model.exact[target + known[len(path) :]] = self.model.exact.pop(known)

    def _some_file(self) -> list[str]:
        files = self._files()
        return [self._random.choice(files)] if files else []

    # ---- the common folder ----
    def _common_new(self) -> None:
        self._number += 1
        path = f"common/{self.name}-{self._number}"
        data = self._bytes()
        self.root.joinpath(path).write_bytes(data)
        self.model.survivors[path] = data

    def _common_fight(self) -> None:
        path = self.root / "common" / f"fight-{self._random.randrange(4)}"
        try:
            if self._random.random() < 0.2:
                path.unlink()
            else:
                path.write_bytes(self._bytes())
        except FileNotFoundError:
            return
