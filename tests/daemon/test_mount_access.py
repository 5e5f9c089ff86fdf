# SPDX-License-Identifier: GPL-3.0-or-later
"""Mounts for other users: what /etc/fuse.conf has to say, what is remembered, and which modes others meet."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from holofs_api.mount_access import Allow, refusal
from holofs_api.v1 import filesystem_pb2 as pb
from holofs_mount.core.mount_state import MountState
from holofs_mount.options import MountError, check_access, parse
from holofsd.core.errors import MountFailed
from holofsd.core.ids import VolumeId
from holofsd.daemon import mount_paths
from holofsd.store.device import DeviceStore, MountRow
from support.other_user import STRANGER, as_user


@pytest.fixture
def not_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: STRANGER)


@pytest.mark.usefixtures("not_root")
@pytest.mark.parametrize(
    ("text", "refused"),
    [
        (None, True),
        ("", True),
        ("#user_allow_other\nmount_max = 1000\n", True),
        ("user_allow_others\n", True),
        ("mount_max = 10\n  user_allow_other  # for backups\n", False),
    ],
)
def test_fuse_conf_decides_before_anything_is_tried(tmp_path: Path, text: str | None, refused: bool) -> None:
    conf = tmp_path / "fuse.conf"
    if text is not None:
        conf.write_text(text)
    for allow in (Allow.OTHER, Allow.ROOT):
        told = refusal(allow, conf)
        assert bool(told) is refused
        assert not refused or (str(conf) in told and "`user_allow_other`" in told and told.count(". ") == 0)
    assert refusal(Allow.OWNER, conf) == ""


def test_root_needs_no_line_in_fuse_conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert refusal(Allow.OTHER, tmp_path / "nothing") == ""


def test_a_fuse_conf_that_cannot_be_read_is_left_to_fusermount(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "fuse.conf").write_text("")
    (tmp_path / "fuse.conf").chmod(0o600)
    assert as_user(lambda: refusal(Allow.OTHER, tmp_path / "fuse.conf")) == ""


@pytest.mark.usefixtures("not_root")
def test_daemon_and_mount_refuse_with_the_same_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holofs_api.mount_access.refusal.__defaults__", (Path("/nowhere/fuse.conf"),))
    with pytest.raises(MountFailed) as by_daemon:
        mount_paths.check_access(Allow.ROOT)
    with pytest.raises(MountError) as by_mount:
        check_access(Allow.ROOT)
    assert by_daemon.value.message == str(by_mount.value) == refusal(Allow.ROOT, Path("/nowhere/fuse.conf"))
    mount_paths.check_access(Allow.OWNER)
    check_access(Allow.OWNER)


def test_who_may_use_a_mount_is_kept_with_it_and_nobody_else_in_one_from_before(tmp_path: Path) -> None:
    store = DeviceStore(tmp_path)
    row = MountRow(b"/m", VolumeId(b"v" * 32), 0, "", "id", 0, 1, 0, Allow.OTHER.value, 1)
    store.put_mount(row)
    columns, values = "path, volume, read_only, binding, mount_id, pid, wanted", (b"/old", b"v" * 32, 0, "", "x", 0, 1)
    store.db.run(f"INSERT INTO mounts ({columns}) VALUES (?,?,?,?,?,?,?)", values)
    assert store.mounts()[0] == row
    assert (store.mounts()[1].allow, store.mounts()[1].no_exec) == ("", 0)
    assert [Allow.stored(text) for text in ("root", "other", "", "all")] == ["root", "other", "", ""]
    store.close()


def test_the_options_of_the_mount_become_those_of_fuse() -> None:
    assert parse(["docs", "/m"]).of_kernel == frozenset()
    assert parse(["--allow-other", "--read-only", "docs", "/m"]).of_kernel == {"allow_other", "ro"}
    assert parse(["--allow-root", "--no-exec", "docs", "/m"]).of_kernel == {"allow_root", "noexec"}
    with pytest.raises(SystemExit):
        parse(["--allow-root", "--allow-other", "docs", "/m"])


def test_what_another_user_makes_never_runs_with_the_rights_of_the_mounts_user() -> None:
    state = MountState()
    state.uid = 1000
    for mode in (0o4755, 0o2755, 0o6777, stat.S_IFREG | 0o4711):
        assert state.mode_of_new(mode, 1000) == mode
        for other in (0, 1001):
            assert state.mode_of_new(mode, other) == mode & ~0o6000
    assert state.mode_of_new(0o1777, 1001) == 0o1777


def test_a_mount_for_root_shuts_its_root_to_others_who_would_be_answered_by_the_kernel() -> None:
    state = MountState()
    root, inside = (pb.Attr(ino=ino, kind=pb.KIND_DIRECTORY, mode=0o755) for ino in (state.root, 7))
    assert stat.S_IMODE(state.shown_mode(root)) == 0o755
    state.allow = Allow.ROOT
    assert stat.S_IMODE(state.shown_mode(root)) == 0o700
    assert stat.S_IMODE(state.shown_mode(inside)) == 0o755
