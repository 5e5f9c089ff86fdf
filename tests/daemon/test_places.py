# SPDX-License-Identifier: GPL-3.0-or-later
"""A path that a person named is never looked at where that could wait for ever."""

from __future__ import annotations

import errno
import os
import stat
import sys
import time
from pathlib import Path

import pytest

from holofs_api import places
from holofs_api.state_directory import StateDirError, resolved


@pytest.fixture
def mounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A list of mounts: volumes at `volume` and `a space`, a server's folder at `server`."""
    listed = tmp_path / "mountinfo"
    lines = ["1 0 0:1 / / rw - ext4 /dev/sda rw"]
    for number, (name, kind) in enumerate(
        (("volume", "fuse.holofs"), ("a\\040space", "fuse.holofs"), ("server", "nfs4"))
    ):
        (tmp_path / name.replace("\\040", " ")).mkdir()
        lines.append(f"{number + 2} 1 0:{number + 2} / {tmp_path}/{name} rw shared:1 - {kind} source rw")
    listed.write_text("\n".join(lines) + "\n")
    monkeypatch.setattr(places, "MOUNTINFO", str(listed))
    return tmp_path


@pytest.fixture
def untouched(mounts: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Fails the test if anything below a mount is looked at by this process."""
    risky = tuple(str(mounts / name) for name in ("volume", "a space", "server"))

    def guarded(name: str) -> None:
        real = getattr(os, name)

        def look(path: object, *arguments: object, **options: object) -> object:
            assert not str(path).startswith(risky), f"os.{name} was called on {path}"
            return real(path, *arguments, **options)

        monkeypatch.setattr(os, name, look)

    for name in ("stat", "lstat", "readlink", "scandir", "access", "statvfs"):
        guarded(name)
    return mounts


def test_a_walk_resolves_local_symlinks_and_ends_at_a_mount(untouched: Path) -> None:
    (untouched / "folder").mkdir()
    (untouched / "link").symlink_to("folder")
    (untouched / "into").symlink_to(untouched / "volume")
    assert places.walk(f"{untouched}/link/missing") == places.Walked(f"{untouched}/folder/missing")
    assert places.walk(f"{untouched}/link", follow_last=False).real == f"{untouched}/link"
    assert places.walk(f"{untouched}/folder/../link/./x").real == f"{untouched}/folder/x"
    ended = places.walk(f"{untouched}/into/some/thing")
    assert (ended.real, ended.is_inside_holofs) == (f"{untouched}/volume/some/thing", True)
    assert not places.walk(f"{untouched}/into").is_inside_holofs, "the root of a mount is not inside of it"
    assert places.walk(f"{untouched}/server/x").mount == places.MountPoint(f"{untouched}/server", "nfs4")


def test_symlinks_that_lead_in_a_circle_end_the_walk(mounts: Path) -> None:
    (mounts / "one").symlink_to("two")
    (mounts / "two").symlink_to("one")
    assert places.walk(f"{mounts}/one/x").mount is None
    assert places.look(f"{mounts}/one/x").error == errno.ELOOP


@pytest.mark.parametrize("inside", ["volume/sub", "a space/sub/deeper", "into/sub", "folder/../volume/x"])
def test_a_path_inside_a_volume_is_refused_untouched(untouched: Path, inside: str) -> None:
    (untouched / "folder").mkdir()
    (untouched / "into").symlink_to("volume")
    for ask, error in ((places.refuse_inside, places.InsideMount), (places.look, places.InsideMount)):
        with pytest.raises(error, match="is inside the HoloFS mount at"):
            ask(f"{untouched}/{inside}")
    with pytest.raises(StateDirError, match="is inside the HoloFS mount at"):
        resolved(f"{untouched}/{inside}")


def test_what_is_seen(mounts: Path) -> None:
    (mounts / "empty").mkdir()
    (mounts / "full").mkdir()
    (mounts / "full" / "file").touch()
    (mounts / "link").symlink_to("empty")
    assert places.look(f"{mounts}/link") == places.Seen(f"{mounts}/empty", 0, True, True, True)
    assert not places.look(f"{mounts}/full").is_empty
    assert not places.look(f"{mounts}/full/file").is_directory
    assert places.look(f"{mounts}/missing").error == errno.ENOENT
    assert places.look(f"{mounts}/full/file/x").error == errno.ENOTDIR


def test_beyond_a_server_a_child_looks(untouched: Path) -> None:
    assert places.look(f"{untouched}/server") == places.Seen(f"{untouched}/server", 0, True, True, True)


def test_a_server_that_is_away_is_said_within_the_limit(untouched: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hangs = untouched / "hangs"
    hangs.write_text("#!/bin/sh\nexec sleep 600\n")
    hangs.chmod(hangs.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(sys, "executable", str(hangs))
    began = time.monotonic()
    with pytest.raises(places.NoAnswer, match="server does not answer"):
        places.look(f"{untouched}/server", 0.2)
    assert time.monotonic() - began < places.LIMIT_S


class Stuck:
    """A child that cannot end: it hangs in the kernel."""

    def poll(self) -> None:
        return None


def test_so_many_children_may_hang_and_no_more(untouched: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "_abandoned", [Stuck() for _ in range(8)])
    with pytest.raises(places.NoAnswer):
        places.look(f"{untouched}/server")
