# SPDX-License-Identifier: GPL-3.0-or-later
"""Taking a mount away by programs of the system: what they refuse is told apart from a folder that is in use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from holofsd.core.errors import MountFailed
from holofsd.daemon import mount_paths
from holofsd.daemon.mount_paths import unmount, unmounted

BUSY = "fusermount3: failed to unmount /notes: Device or resource busy"
NO_MTAB = "fusermount3: failed to open /etc/mtab: No such file or directory"


class Programs:
    """Programs that print and end as they are told, in the place of those of the system."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "log"
        self.mount = folder / "mounted"
        self.mount.touch()

    def make(self, name: str, *, says: str = "", works: bool = False) -> None:
        program = self.folder / name
        end = f"rm -f {self.mount}" if works else f"echo '{says}' >&2; exit 1"
        program.write_text(f'#!/bin/sh\necho "{name} $*" >>{self.log}\n{end}\n')
        program.chmod(0o755)

    def ran(self) -> list[str]:
        return self.log.read_text().splitlines()


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Programs:
    made = Programs(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(mount_paths, "mounted_at", lambda path: "fuse.holofs" if made.mount.exists() else None)
    monkeypatch.setattr(mount_paths, "MTAB", str(tmp_path / "mtab"))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    return made


async def test_a_busy_folder_is_in_use_and_force_detaches_it(programs: Programs) -> None:
    programs.make("fusermount3", says=BUSY)
    assert not await unmounted("/notes")
    programs.make("fusermount3", works=True)
    assert await unmounted("/notes")


async def test_without_mtab_the_folder_is_not_said_to_be_in_use(programs: Programs) -> None:
    programs.make("fusermount3", says=NO_MTAB)
    for how in (unmounted, unmount):
        with pytest.raises(MountFailed, match=r"failed to open /etc/mtab.*`sudo ln -s \.\./proc/self/mounts "):
            await how("/notes")
    assert programs.ran() == ["fusermount3 -u /notes"] * 2 + ["fusermount3 -u -z /notes"]


async def test_root_needs_no_mtab(programs: Programs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    programs.make("fusermount3", says=NO_MTAB)
    programs.make("umount", says="umount: /notes: target is busy.")
    assert not await unmounted("/notes")
    programs.make("umount", works=True)
    assert await unmounted("/notes")
    assert programs.ran() == ["fusermount3 -u /notes", "umount /notes"] * 2


async def test_another_refusal_is_told_in_its_own_words(programs: Programs) -> None:
    Path(mount_paths.MTAB).touch()
    programs.make("fusermount3", says="fusermount3: user has no write access to mountpoint /notes")
    with pytest.raises(MountFailed) as refused:
        await unmounted("/notes")
    assert refused.value.message == (
        "/notes cannot be unmounted: fusermount3: user has no write access to mountpoint /notes."
    )
