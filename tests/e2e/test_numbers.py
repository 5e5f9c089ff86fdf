# SPDX-License-Identifier: GPL-3.0-or-later
"""Numbers that no file can have, from programs on a real mount: clamped, or an errno of that call alone."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from holofs_api.numbers import MAX_FILE_SIZE, MAX_TIME_NS, MIN_TIME_NS
from support.device import Device, World
from support.wait import until

TIMES = [2**63, 2**63 - 1, -1, -(2**31) * 10**9 - 1, -(2**63), -(2**70), 2**70]


@pytest.fixture
def device(world: World) -> Device:
    (device,) = world.running("a")
    device.create()
    return device


@pytest.fixture(params=["pyfuse3", "fusepy"])
def folder(request: pytest.FixtureRequest, device: Device) -> Path:
    folder = device.mount("docs", "--binding", request.param) / "d"
    folder.mkdir()
    (folder / "neighbour").write_bytes(b"neighbour")
    return folder


def clamped(time_ns: int) -> int:
    return min(max(time_ns, MIN_TIME_NS), MAX_TIME_NS)


def neighbours_are_well(folder: Path) -> None:
    for entry in os.scandir(folder):
        assert MIN_TIME_NS <= entry.stat().st_mtime_ns <= MAX_TIME_NS
    assert (folder / "neighbour").read_bytes() == b"neighbour"


def test_any_time_can_be_set_and_breaks_nothing(device: Device, folder: Path) -> None:
    for number, time_ns in enumerate(TIMES):
        path = folder / str(number)
        with path.open("wb", buffering=0) as file:
            file.write(b"content")
            os.utime(file.fileno(), ns=(time_ns, time_ns))
            assert os.fstat(file.fileno()).st_mtime_ns == clamped(time_ns)
            neighbours_are_well(folder)
            os.utime(path, ns=(time_ns, time_ns))
            assert path.stat().st_mtime_ns == clamped(time_ns)
        assert path.stat().st_mtime_ns == clamped(time_ns), "it is closed, and was not written since"
        large = folder / f"large {number}"
        large.write_bytes(bytes(100_000))
        for each in (folder / "neighbour", large, folder):
            os.utime(each, ns=(time_ns, time_ns))
            assert each.stat().st_mtime_ns == clamped(time_ns)
        neighbours_are_well(folder)
    mountpoint = folder.parent
    device.unmount(mountpoint)
    until(lambda: not device.mount_pids(), "the mount's process to end")
    device.mount(path=mountpoint)
    for number, time_ns in enumerate(TIMES):
        assert (folder / str(number)).read_bytes() == b"content"
        assert (folder / str(number)).stat().st_mtime_ns == clamped(time_ns)


def refused(number: int, operation: Callable[[], object]) -> None:
    with pytest.raises(OSError, match=os.strerror(number)) as told:
        operation()
    assert told.value.errno == number


@pytest.mark.parametrize("length", [7, 100_000], ids=["small", "large"])
def test_a_size_that_no_file_has_fails_alone(folder: Path, length: int) -> None:
    path = folder / "file"
    content = b"c" * length
    path.write_bytes(content)
    for size in (MAX_FILE_SIZE + 1, 2**62, 2**63 - 4096, 2**63 - 1):
        refused(errno.EFBIG, lambda size=size: os.truncate(path, size))  # type: ignore[misc]
        with path.open("r+b", buffering=0) as file:
            refused(errno.EFBIG, lambda size=size: file.truncate(size))  # type: ignore[misc]
            refused(errno.EFBIG, lambda size=size: os.pwrite(file.fileno(), b"x", size - 1))  # type: ignore[misc]
            assert os.fstat(file.fileno()).st_size == length
            assert os.pread(file.fileno(), 10, size - 4097) == b""
            os.pwrite(file.fileno(), b"c", 0)
        assert path.read_bytes() == content
        neighbours_are_well(folder)


def test_modes_owners_and_attributes_beyond_what_there_is(folder: Path) -> None:
    path = folder / "file"
    path.write_bytes(b"content")
    os.chmod(path, 0o177777)
    assert path.stat().st_mode & 0o7777 == 0o7777
    refused(errno.EPERM, lambda: os.chown(path, 2**32 - 2, -1))
    os.chown(path, -1, -1)
    refused(errno.E2BIG, lambda: os.setxattr(path, "user.a", bytes(65_537)))
    refused(errno.ENODATA, lambda: os.setxattr(path, "user.a", b"1", os.XATTR_REPLACE))
    os.setxattr(path, "user.a", bytes(65_536), os.XATTR_CREATE)
    refused(errno.EEXIST, lambda: os.setxattr(path, "user.a", b"1", os.XATTR_CREATE))
    refused(errno.EEXIST, lambda: os.setxattr(path, "user.a", b"1", os.XATTR_CREATE | os.XATTR_REPLACE))
    refused(errno.EINVAL, lambda: os.setxattr(path, "user.a", b"1", 8))
    assert os.getxattr(path, "user.a") == bytes(65_536)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for offset in (2**31, 2**62, 2**63 - 1):
            os.lseek(descriptor, offset, os.SEEK_SET)
            assert isinstance(os.listdir(descriptor), list)
    finally:
        os.close(descriptor)
    neighbours_are_well(folder)
