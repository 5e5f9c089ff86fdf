# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading an open directory from any position: a program may seek to what it was told, and to anything else."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.device import World

MANY = 1_500
_libc = ctypes.CDLL(None, use_errno=True)
_GETDENTS64 = {"x86_64": 217, "aarch64": 61}[os.uname().machine]


@pytest.fixture(scope="module", params=["pyfuse3", "fusepy"])
def folder(request: pytest.FixtureRequest) -> Iterator[Path]:
    with World(limit_s=300) as world:
        (a,) = world.running("a")
        a.create()
        path = a.mount("docs", "--binding", request.param) / "folder"
        path.mkdir()
        for number in range(MANY):
            (path / f"file {number}").touch()
        yield path


@pytest.fixture
def opened(folder: Path) -> Iterator[int]:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def _read(fd: int) -> list[tuple[str, int]]:
    """One getdents: names, each with the position after it. OSError."""
    buffer = ctypes.create_string_buffer(32_768)
    size = _libc.syscall(_GETDENTS64, fd, buffer, len(buffer))
    if size < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    found, at = [], 0
    while at < size:
        position, length = struct.unpack_from("=qH", buffer, at + 8)
        found.append((buffer.raw[at + 19 : at + length].split(b"\0", 1)[0].decode(), position))
        at += length
    return found


def _rest(fd: int) -> list[tuple[str, int]]:
    found: list[tuple[str, int]] = []
    while more := _read(fd):
        found += more
    return found


def test_any_position_is_a_position_in_the_listing_or_beyond_its_end(opened: int) -> None:
    whole = _rest(opened)
    assert sorted(name for name, _ in whole) == sorted([".", "..", *(f"file {number}" for number in range(MANY))])
    for position in (5, 2**40, 2**62, 2**63 - 1):
        os.lseek(opened, position, os.SEEK_SET)
        assert {name for name, _ in _rest(opened)} <= {name for name, _ in whole}
    for position in (2**40, 2**62, 2**63 - 1):
        os.lseek(opened, position, os.SEEK_SET)
        assert _read(opened) == []


def test_reading_goes_on_from_where_a_name_was(opened: int) -> None:
    whole = _rest(opened)
    for index in (0, 1, 399, 400, 1_000, len(whole) - 1, 7):
        os.lseek(opened, whole[index][1], os.SEEK_SET)
        assert _rest(opened) == whole[index + 1 :]
    os.lseek(opened, 0, os.SEEK_SET)
    assert _rest(opened) == whole
