# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of one folder by name, each of which is in its place before its row is committed, and goes after the row.

A file without a row is harmless: the next one of that name replaces it, or a sweep finds it. Names are long and begin
with two hexadecimal digits that spread well, so each lies in one of 256 folders.
"""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from holofsd.store.copies import sync_path


class StoredFiles:
    """`fresh` is a folder on the same filesystem, for files that are not in their place yet. `has_row` says of a name
    whether a committed row has it. Methods of this class may be called in any thread, `has_row` is called in that of
    `unlink`."""

    def __init__(self, root: Path, fresh: Path, has_row: Callable[[str], bool]) -> None:
        root.mkdir(mode=0o700, exist_ok=True)
        self._root = root
        self._fresh = fresh
        self._has_row = has_row
        self._guard = threading.Lock()
        self._arriving: set[str] = set()
        """Names that were put in place and whose rows come next."""

    def is_known(self, name: str) -> bool:
        """Whether a row has it."""
        return self._has_row(name)

    def path(self, name: str) -> Path:
        """The path of a file, whether it is there or not."""
        return self._root / name[:2] / name

    def link(self, source: Path, name: str, is_durable: bool) -> None:
        """Puts a file in its place, by a hard link that leaves the source. What has that name already is replaced: of
        the two only this one was just verified. Blocking. Raises OSError."""
        target, fresh = self._folder_of(name), f"{self._fresh}/{name}.link"
        with self._guard:
            self._arriving.add(name)
            try:
                os.link(source, target)
            except FileExistsError:
                os.link(source, fresh)
                os.replace(fresh, target)
                Path(fresh).unlink(missing_ok=True)  # both were the same file already: then a rename does nothing
        if is_durable:
            sync_path(target.parent)

    def move(self, source: Path, name: str, is_durable: bool) -> None:
        """Puts a file in its place, by a rename. Blocking. Raises OSError."""
        target = self._folder_of(name)
        with self._guard:
            self._arriving.add(name)
            os.replace(source, target)
        if is_durable:
            sync_path(target.parent)

    def write(self, name: str, data: bytes, is_durable: bool, mode: int = 0o400) -> None:
        """Makes a file of these bytes, and puts it in its place. Blocking. Raises OSError."""
        fresh = self._fresh / f"{name}.{secrets.token_hex(8)}.new"  # two threads may write one list
        try:
            with open(os.open(fresh, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, mode), "wb", buffering=0) as file:
                view = memoryview(data)
                while view:
                    view = view[file.write(view) :]
                if is_durable:
                    os.fdatasync(file.fileno())
            self.move(fresh, name, is_durable)
        except OSError:
            fresh.unlink(missing_ok=True)
            raise

    def arrived(self, name: str) -> None:
        """Notes that its row is committed."""
        self._arriving.discard(name)

    def unlink(self, name: str) -> bool:
        """Deletes a file whose row is gone; False where it has come again meanwhile, or is not there."""
        with self._guard:
            if name in self._arriving or self._has_row(name):
                return False
            try:
                self.path(name).unlink()
            except FileNotFoundError:
                return False
            return True

    def names(self) -> Iterator[str]:
        """Names of all files that are in their place."""
        for folder in self._root.iterdir():
            yield from (path.name for path in folder.iterdir())

    def sweep(self, before: float) -> Iterator[int]:
        """Deletes files without a row that were last changed before that time in s. Yields the bytes of each. A file
        that this class did not name stays. Blocking, a step at a time."""
        for name in self.names():
            path = self.path(name)
            try:
                found = path.stat()
                if found.st_ctime < before and self.unlink(name):
                    yield found.st_size
            except (FileNotFoundError, ValueError):
                continue

    def _folder_of(self, name: str) -> Path:
        target = self.path(name)
        target.parent.mkdir(mode=0o700, exist_ok=True)
        return target
