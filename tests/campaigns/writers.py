# SPDX-License-Identifier: GPL-3.0-or-later
"""A writer on a mount that is killed under it, and the manifest of what fsync promised it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

_SIZES: Final = (10, 3000, 4000, 5000, 20_000, 70_000, 300_000)
_MOST_FILES: Final = 60


@dataclass
class Manifest:
    """Notes outside the mount: path -> the contents that may be there: one, or two while a change is not noted yet.

    `moves`: (from, to, content) of renames that are not noted yet: one of both names has it. `grown`: files that were
    only ever appended to, with what has to be at their beginning.
    """

    files: dict[str, set[str | None]] = field(default_factory=dict)
    moves: list[tuple[str, str, str | None]] = field(default_factory=list)
    grown: dict[str, bytes] = field(default_factory=dict)

    def alive(self) -> list[str]:
        """Files of which exactly one content can be there."""
        return [name for name, may in self.files.items() if len(may) == 1 and None not in may]


def digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


class Writer:
    """Works in a folder of its own. Errors of a mount that is not there end a step, and the next one is tried."""

    def __init__(self, name: str, root: Path, manifest: Manifest, chance: random.Random) -> None:
        self.name, self.root = name, root
        self.manifest = manifest
        self._random = chance
        self._number = 0
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._steps: list[Callable[[], None]] = [
            *[self._new] * 4,
            *[self._save] * 3,
            *[self._replace] * 3,
            *[self._grow] * 2,
            *[self._rename] * 2,
            self._remove,
        ]

    # ---- life
    def prepare(self) -> None:
        (self.root / self.name).mkdir()
        self._sync_directory()

    def start(self) -> None:
        self._over.clear()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join(60)
            assert not self._thread.is_alive(), f"{self.name} hangs in a call"

    def _work(self) -> None:
        while not self._over.is_set():
            with contextlib.suppress(OSError):
                self._random.choice(self._steps)()
            self._over.wait(0.005)

    # ---- steps
    def _path(self, name: str) -> Path:
        return self.root / self.name / name

    def _fresh(self) -> str:
        self._number += 1
        return f"{self._number:06}"

    def _known(self) -> str | None:
        alive = self.manifest.alive()
        return self._random.choice(alive) if alive else None

    def _bytes(self) -> bytes:
        return self._random.randbytes(self._random.choice(_SIZES))

    @contextlib.contextmanager
    def _changes(self, changes: dict[str, str | None]) -> Iterator[None]:
        """Allow either content until the block is over, what was and what will be; afterwards only the latter."""
        for name, now in changes.items():
            self.manifest.files.setdefault(name, {None}).add(now)
        yield
        for name, now in changes.items():
            self.manifest.files[name] = {now}

    def _new(self) -> None:
        if len(self.manifest.alive()) < _MOST_FILES:
            self._write_new(self._bytes())

    def _save(self) -> None:
        """Write without fsync: what was closed survives the end of any process, if not the power."""
        if len(self.manifest.alive()) < _MOST_FILES:
            self._save_new(self._bytes())

    def _save_new(self, data: bytes) -> None:
        name = self._fresh()
        self._path(name).write_bytes(data)
        self.manifest.files[name] = {digest(data)}

    def _write_new(self, data: bytes) -> None:
        name = self._fresh()
        self._write(name, data)
        self.manifest.files[name] = {digest(data)}

    def write_much(self) -> None:
        """More than one page of records holds, and content that comes in several pieces."""
        for _ in range(90):
            self._save_new(self._random.randbytes(4000))
        self._save_new(self._random.randbytes(1_500_000))
        for name in self.manifest.alive()[:-_MOST_FILES]:
            self._remove_one(name)

    def write_large(self) -> None:
        """Content that gets a list of chunks."""
        self._save_new(self._random.randbytes(5_000_000))
        for name in self.manifest.alive()[:-_MOST_FILES]:
            self._remove_one(name)

    def _write(self, name: str, data: bytes) -> None:
        with open(self._path(name), "wb", buffering=0) as file:
            file.write(data)
            os.fsync(file.fileno())
        self._sync_directory()

    def _replace(self) -> None:
        """Save a file as an editor does."""
        name = self._known()
        if name is not None:
            data = self._bytes()
            self._write("new", data)
            with self._changes({name: digest(data)}):
                os.rename(self._path("new"), self._path(name))
                self._sync_directory()

    def _rename(self) -> None:
        name = self._known()
        if name is not None:
            target = self._fresh()
            (content,) = self.manifest.files[name]
            self.manifest.moves.append((name, target, content))
            with self._changes({name: None, target: content}):
                os.rename(self._path(name), self._path(target))
                self._sync_directory()
            self.manifest.moves.pop()

    def _remove(self) -> None:
        name = self._known()
        if name is not None and len(self.manifest.alive()) > _MOST_FILES // 2:
            self._remove_one(name)

    def _remove_one(self, name: str) -> None:
        with self._changes({name: None}):
            self._path(name).unlink()
            self._sync_directory()

    def _grow(self) -> None:
        """Append. What was synced stays at the beginning, whatever else of an append arrives."""
        name = f"grown {self._random.randrange(3)}"
        before = self.manifest.grown.get(name, b"")
        with open(self._path(name), "ab", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            if size != len(before) or size > 500_000:
                return
            data = self._bytes()
            file.write(data)
            os.fsync(file.fileno())
        self._sync_directory()
        self.manifest.grown[name] = before + data

    def _sync_directory(self) -> None:
        descriptor = os.open(self.root / self.name, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    # ---- what has to be there
    def is_back_at(self, root: Path) -> bool:
        # Not stat: of a dead mount the kernel may answer that from what it remembers.
        os.statvfs(root / self.name)
        return True

    def check(self, root: Path) -> None:
        """Raises AssertionError for a file that is lost or not whole."""
        folder = root / self.name
        for one, other, content in self.manifest.moves:
            both = {_digest_of(folder / one), _digest_of(folder / other)}
            assert both == {None, content}, f"{folder}: {one} became {other}; found {both}, expected {content} once"
        for name, may in list(self.manifest.files.items()):
            found = _digest_of(folder / name)
            assert found in may, f"{folder / name}: {found or 'gone'}, expected {may}"
            # It is known now, whatever a killed call left open.
            if root == self.root:
                self.manifest.files[name] = {found}
        if root == self.root:
            self.manifest.moves.clear()
        for name, data in self.manifest.grown.items():
            begins = (folder / name).read_bytes()[: len(data)]
            assert begins == data, f"{folder / name}: what was synced is not at its beginning"


def _digest_of(path: Path) -> str | None:
    try:
        return digest(path.read_bytes())
    except FileNotFoundError:
        return None


class Team:
    """The writers of one device."""

    def __init__(self, name: str, root: Path, seed: int, size: int) -> None:
        names = [f"{name}{number}" for number in range(size)]
        self._writers = [Writer(one, root, Manifest(), random.Random(f"{seed} {one}")) for one in names]

    def prepare(self) -> None:
        for writer in self._writers:
            writer.prepare()

    def start(self) -> None:
        for writer in self._writers:
            writer.start()

    def stop(self) -> None:
        for writer in self._writers:
            writer.stop()

    def write_much(self) -> None:
        self._writers[0].write_much()

    def write_large(self) -> None:
        self._writers[0].write_large()

    def is_back_at(self, root: Path) -> bool:
        return all(writer.is_back_at(root) for writer in self._writers)

    def check(self, root: Path) -> None:
        for writer in self._writers:
            writer.check(root)

    def agrees(self, root: Path) -> bool:
        self.check(root)
        return True
