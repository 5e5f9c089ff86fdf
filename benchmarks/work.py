# SPDX-License-Identifier: GPL-3.0-or-later
"""Work that programs do in a folder, timed in seconds. The same for each contender, without `fsync`."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

MIB: Final = 1 << 20
_ENVIRONMENT: Final = {
    **os.environ,
    "LC_ALL": "C",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "bench",
    "GIT_AUTHOR_EMAIL": "bench@localhost",
    "GIT_COMMITTER_NAME": "bench",
    "GIT_COMMITTER_EMAIL": "bench@localhost",
}


def wait_for(is_so: Callable[[], bool], what: str, limit_s: float = 900.0, every_s: float = 0.01) -> None:
    """Looks at even intervals, unlike `support.wait.until`, whose pauses grow: those would be in the figure."""
    deadline = time.monotonic() + limit_s
    while not is_so():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {limit_s:.0f} s for {what}")
        time.sleep(every_s)


def run(*command: str | Path, cwd: Path | None = None) -> float:
    """Seconds that a program takes; its standard output goes nowhere."""
    began = time.perf_counter()
    done = subprocess.run(command, cwd=cwd, env=_ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    took = time.perf_counter() - began
    if done.returncode:
        raise RuntimeError(f"{command[0]} ended with {done.returncode}: {done.stderr.decode(errors='replace')[-300:]}")
    return took


# ---- one large file
def random_pieces(mib: int) -> list[bytes]:
    """Different each time: content that a contender has already costs it less than what is new."""
    return [os.urandom(MIB) for _ in range(mib)]


def write_large(path: Path, pieces: Iterable[bytes]) -> float:
    """Write in pieces of 1 MiB, then close."""
    began = time.perf_counter()
    with path.open("wb", buffering=0) as file:
        for piece in pieces:
            file.write(piece)
    return time.perf_counter() - began


def read_large(path: Path) -> float:
    began = time.perf_counter()
    with path.open("rb", buffering=0) as file:
        while file.read(MIB):
            pass
    return time.perf_counter() - began


# ---- many small ones
Files = dict[str, bytes]
"""Content by path below some folder."""


def create(root: Path, files: Files) -> float:
    """Create, write, close, one after the other. Their folders are made before the clock runs."""
    paths = [(os.fsencode(root / name), data) for name, data in files.items()]
    for folder in sorted({(root / name).parent for name in files}):
        folder.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    for path, data in paths:
        fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o644)
        os.write(fd, data)
        os.close(fd)
    return time.perf_counter() - began


def numbered(count: int, size: int, first: int = 0) -> Files:
    """Make files in one folder. Up to 65,536 different contents of two bytes; larger ones differ always."""
    if size == 2:
        return {f"file-{n:05}": (n & 0xFFFF).to_bytes(2, "big") for n in range(first, first + count)}
    return {f"file-{n:05}": os.urandom(size) for n in range(first, first + count)}


def in_folders(folders: int, each: int, size: int) -> Files:
    return {
        f"folder-{n:03}/{name}": data for n in range(folders) for name, data in numbered(each, size, n * each).items()
    }


def spread(count: int, size: int) -> Files:
    """Make about so many files, a hundred to a folder."""
    return in_folders(max(count // 100, 1), min(count, 100), size)


def list_all(root: Path) -> float:
    return run("ls", "-lR", root)


def cat(root: Path, names: Sequence[str]) -> float:
    return run("cat", *names, cwd=root)


def remove(root: Path) -> float:
    return run("rm", "-r", root)


# ---- how fast something arrives
def seconds_until_readable(
    here: Path,
    there: Path,
    name: str,
    data: bytes,
    tell: Callable[[str], None] = lambda _: None,
    limit_s: float = 120.0,
) -> float:
    """Writes `name` here; from its close until those bytes can be read there. `tell` hears of it when it is closed."""
    here.joinpath(name).write_bytes(data)
    closed, seen = time.perf_counter(), there / name
    tell(name)
    while _content(seen) != data:
        if time.perf_counter() - closed > limit_s:
            raise TimeoutError(f"{name} was not readable on the other side after {limit_s:.0f} s")
        time.sleep(0.0005)
    return time.perf_counter() - closed


def seconds_until_read(path: Path, size: int, limit_s: float) -> tuple[float, int]:
    """Time until a file of that size could be read to its end, and how many attempts to read it failed."""
    began, failed = time.perf_counter(), 0
    while time.perf_counter() - began < limit_s:
        try:
            if path.stat().st_size == size:
                read_large(path)
                return time.perf_counter() - began, failed
        except FileNotFoundError:
            pass  # it is not known there yet
        except OSError:
            failed += 1
        time.sleep(0.05)
    raise TimeoutError(f"{path.name} could not be read after {limit_s:.0f} s, in {failed} attempts")


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


# ---- what git, tar and cp work on
_WORDS: Final = tuple(
    word
    for line in (
        "def class return yield import from with as if else for while try except raise lambda None True False self",
        "value name path file record version author device volume state tree node link head mark session",
    )
    for word in line.split()
)


def sources(root: Path, count: int, salt: int) -> None:
    """A tree like a program's: 12 files in a folder, 0.5 to 30 KiB of words each, no two alike."""
    for number in range(count):
        folder = root / f"part-{number // 120:02}" / f"module-{number // 12:03}"
        folder.mkdir(parents=True, exist_ok=True)
        lines = 10 + (number * 7919) % 601 if number % 3 else 10 + number % 40
        text = "\n".join(_line(salt, number, line) for line in range(lines))
        folder.joinpath(f"source_{number:04}.py").write_text(f"# {salt} {number}\n{text}\n")


def _line(salt: int, number: int, line: int) -> str:
    seed = (salt * 1_000_003 + number) * 10_007 + line * 101
    return "    " * (seed % 3) + " ".join(_WORDS[(seed * step) % len(_WORDS)] for step in range(1, 8))


def repository(root: Path, count: int, salt: int) -> Path:
    root.mkdir(parents=True)
    sources(root, count, salt)
    for command in (("init", "-q"), ("add", "-A"), ("commit", "-q", "-m", "all"), ("gc", "-q")):
        run("git", *command, cwd=root)
    return root


def archive(path: Path, count: int, salt: int) -> Path:
    """A tar file, and beside it the folder that it was made of."""
    folder = path.with_suffix("")
    sources(folder, count, salt)
    run("tar", "--format=posix", "-cf", path, "-C", folder, ".")
    return path


def photos(root: Path, count: int) -> Path:
    """Photographs of 0.5 to 3 MiB, a few dozen to a folder, with a small file of settings beside every one."""
    for number in range(count):
        folder = root / f"2026-{number // 30 + 1:02}"
        folder.mkdir(parents=True, exist_ok=True)
        folder.joinpath(f"IMG_{number:04}.jpg").write_bytes(os.urandom(MIB // 2 + (number * 397) % 2560 * 1024))
        folder.joinpath(f"IMG_{number:04}.xmp").write_text(f"<x:xmpmeta rating='{number % 5}' of='{number}'/>\n" * 20)
    return root


def all_files(root: Path) -> Iterator[os.DirEntry[str]]:
    with os.scandir(root) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from all_files(Path(entry.path))
            else:
                yield entry
