# SPDX-License-Identifier: GPL-3.0-or-later
"""Echoes without a mount: which watches are found, and that an echo is accepted only for what it was begun for."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import cast

import pytest

from holofs_api.v1 import filesystem_pb2 as pb
from holofs_mount.core.mount_state import MountState
from holofs_mount.core.names import Names
from holofs_mount.kernel_caches import KnownNames
from holofs_mount.watching.echoes import Echo, Echoes, is_ghost
from holofs_mount.watching.watches import watched_inodes

FILE = pb.Attr(ino=7, kind=pb.KIND_FILE, mode=0o644)


def test_watches_of_one_filesystem_are_found(tmp_path: Path) -> None:
    for process, target in (("12", "anon_inode:inotify"), ("13", "/dev/null"), ("self", "anon_inode:inotify")):
        for folder in ("fd", "fdinfo"):
            (tmp_path / process / folder).mkdir(parents=True)
        (tmp_path / process / "fd" / "5").symlink_to(target)
        lines = (f"inotify wd:{n} ino:{ino} sdev:{dev} mask:2 ignored_mask:0\n" for n, ino, dev in WATCHES)
        (tmp_path / process / "fdinfo" / "5").write_text("pos:\t0\n" + "".join(lines))
    (tmp_path / "14").mkdir()
    assert watched_inodes(0x3A, tmp_path) == {0x1, 0xFE}
    assert watched_inodes(0x3A, tmp_path / "absent") == set()


WATCHES = ((1, "1", "3a"), (2, "fe", "3a"), (3, "9", "800002"))


class KnownHere:
    """Names of the core, as far as echoes ask for them."""

    def __init__(self) -> None:
        self.inos: dict[tuple[int, bytes], int] = {}

    def known_ino(self, parent: int, name: bytes) -> int | None:
        return self.inos.get((parent, name))


class Scene:
    """Echo of one name, under way."""

    def __init__(self, operation: bytes, attr: pb.Attr | None) -> None:
        self.here, self.kernel, self.state = KnownHere(), KnownNames(), MountState()
        self.echoes = Echoes(self.state, cast(Names, self.here), self.kernel, "/mnt", frozenset)
        if attr is not None:
            self.here.inos[(1, b"f")] = attr.ino
            self.state.attrs.put(attr)
        self.echoes._now = Echo(1, b"f", operation, attr, 0, b"token")


def refused(number: int, ask: object, *arguments: object) -> None:
    with pytest.raises(OSError) as error:
        ask(*arguments)  # type: ignore[operator]
    assert error.value.errno == number


def test_a_new_name_is_shown_as_missing_then_made_as_what_it_is() -> None:
    scene = Scene(b"create", FILE)
    refused(errno.EPERM, scene.echoes.made, 1, b"f")
    refused(errno.ENOENT, scene.echoes.lookup, 1, b"f")
    assert scene.echoes.made(1, b"f") == (FILE, 0)
    assert scene.echoes.lookup(1, b"other") is None
    refused(errno.EPERM, scene.echoes.made, 1, b"other")
    scene.here.inos[(1, b"f")] = 8
    refused(errno.EPERM, scene.echoes.made, 1, b"f")


def test_a_name_that_the_kernel_follows_already_is_not_hidden() -> None:
    scene = Scene(b"create", FILE)
    scene.kernel.add(7, 1, b"f")
    assert scene.echoes.lookup(1, b"f") == FILE
    refused(errno.EPERM, scene.echoes.made, 1, b"f")


def test_only_a_ghost_is_removed() -> None:
    scene = Scene(b"unlink", None)
    refused(errno.EPERM, scene.echoes.removed, 1, b"f")
    ghost = scene.echoes.lookup(1, b"f")
    assert ghost is not None
    assert is_ghost(ghost.ino)
    scene.echoes.removed(1, b"f")
    made_meanwhile = Scene(b"unlink", None)
    made_meanwhile.here.inos[(1, b"f")] = 7
    assert made_meanwhile.echoes.lookup(1, b"f") is None, "the program's file is shown"
    refused(errno.EPERM, made_meanwhile.echoes.removed, 1, b"f")


def test_only_the_file_that_changed_can_be_opened_and_touched() -> None:
    scene = Scene(b"modify", FILE)
    assert scene.echoes.modified(7) == (FILE, 0)
    refused(errno.EPERM, scene.echoes.modified, 8)
    scene.state.attrs.drop(7)
    refused(errno.EAGAIN, scene.echoes.modified, 7)


def test_nothing_is_accepted_without_an_echo_and_the_token_is_for_its_folder() -> None:
    scene = Scene(b"create", FILE)
    assert scene.echoes.token(1, b"user.holofs.echo") == b"token"
    refused(errno.ENODATA, scene.echoes.token, 2, b"user.holofs.echo")
    refused(errno.ENODATA, scene.echoes.token, 1, b"security.capability")
    scene.echoes._now = None
    refused(errno.EPERM, scene.echoes.made, 1, b"f")
    refused(errno.EPERM, scene.echoes.removed, 1, b"f")
    refused(errno.EPERM, scene.echoes.modified, 7)
    refused(errno.ENODATA, scene.echoes.token, 1, b"user.holofs.echo")
