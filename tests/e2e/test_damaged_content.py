# SPDX-License-Identifier: GPL-3.0-or-later
"""Content on a bad disk: readers get a clear error or the right bytes, and scrub repairs from others."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from support.device import Device, World
from support.trees import contents
from support.wait import until

DATA = os.urandom(300_000)


def content_files(device: Device) -> list[Path]:
    return sorted(path for path in (device.state / "volumes").rglob("content/*/*") if path.is_file())


def test_scrub_repairs_from_another_device(world: World) -> None:
    a, b = world.sharing("a", "b")
    here, there = a.mount(), b.mount()
    for name in ("one", "two", "three"):
        here.joinpath(name).write_bytes(name.encode() + DATA)
    until(lambda: contents(there) == contents(here) and b.is_settled(), "b to have everything")
    b.unmount(there)
    b.allowed += ["content is damaged or gone", "damaged content is whole again"]
    altered, shorter, gone = content_files(b)
    altered.chmod(0o600)
    altered.write_bytes(bytes(altered.stat().st_size))
    shorter.chmod(0o600)
    os.truncate(shorter, 10)
    gone.unlink()
    (told,) = b.json("scrub", "docs")
    assert (told["volume"], told["files"], told["damaged"], told["repaired"]) == ("docs", 3, 3, 3)
    assert contents(b.mount()) == contents(here)
    assert "all whole" in b.ctl("scrub").out


def test_a_reader_gets_eio_until_somebody_who_has_it_is_back(world: World) -> None:
    a, b = world.sharing("a", "b")
    here = a.mount()
    here.joinpath("file").write_bytes(DATA)
    until(lambda: len(content_files(b)) == 1 and b.is_settled(), "b to have the content")
    a.down()
    (file,) = content_files(b)
    file.chmod(0o600)
    os.truncate(file, 100)
    b.allowed += ["content is damaged or gone", "damaged content is whole again", "said it holds is lost"]
    there = b.mount()
    with pytest.raises(OSError, match="Input/output") as failed:
        there.joinpath("file").read_bytes()
    assert failed.value.errno == errno.EIO
    assert b.volume_status()["damaged"] == 1
    assert b.volume_status()["content_missing"] == 1
    scrubbed = b.ctl("scrub", "docs", "--no-wait", check=False)
    assert scrubbed.code == 1
    assert "cannot be read now: file" in scrubbed.out
    a.up()
    until(lambda: there.joinpath("file").read_bytes() == DATA, "the content to come back")
    until(lambda: not b.volume_status()["damaged"], "b to say that it is whole")
