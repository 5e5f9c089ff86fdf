# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of `mount.fuse.holofs`: which are obeyed, which are left to mount(8), and how the others are refused."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from holofs_api.mount_access import Allow
from holofs_api.v1 import control_pb2 as pb
from holofsctl import mount_helper
from holofsctl.errors import CommandError
from holofsctl.exit_codes import Exit
from holofsctl.fstab_options import FstabOptions, parse_options
from holofsctl.login_files import LoginFile, Starter
from support.other_user import STRANGER


def test_options_are_obeyed_and_the_last_one_counts() -> None:
    assert parse_options([]) == FstabOptions()
    assert parse_options(["ro,allow_other,noexec,uid=you,state_dir=/srv/state,binding=fusepy"]) == FstabOptions(
        read_only=True, allow=Allow.OTHER, no_exec=True, uid="you", state_dir="/srv/state", binding="fusepy"
    )
    assert parse_options(["ro,noexec,allow_other", "rw,exec,allow_root"]) == FstabOptions(allow=Allow.ROOT)
    assert parse_options(["at=2020-01-02"]).at_ms > 0


@pytest.mark.parametrize(
    "option",
    [
        *("defaults", "auto", "noauto", "user", "users", "owner", "group", "nofail", "_netdev", "comment=backup"),
        *("x-systemd.automount", "x-systemd.requires=user@1000.service", "X-mount.mkdir", "x-gvfs-show"),
        *("nosuid", "nodev", "async", "noatime", "relatime", "default_permissions"),
    ],
)
def test_options_of_mount_itself_and_what_is_so_anyway_change_nothing(option: str) -> None:
    assert parse_options([f"{option},uid=1000"]) == FstabOptions(uid="1000")


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("allow_ohter", "Did you mean `allow_other`?"),
        ("sync", "no option sync"),
        ("allow_other=1", "no option allow_other=1"),
        ("suid", "set-user-ID"),
        ("dev", "devices"),
        ("user=somebody", "write uid="),
        ("setuid=somebody", "write uid="),
        ("gid=100", "one owner"),
        ("umask=022", "one owner"),
        ("uid=", "is empty"),
        ("state_dir=here", "no absolute path"),
        ("at=tomorrow-ish", "at="),
        ("binding=libfuse", "pyfuse3 or fusepy"),
        ("a\x1b[2J", "\\x1b"),
    ],
)
def test_any_other_option_is_refused_in_a_sentence(option: str, told: str) -> None:
    with pytest.raises(CommandError) as refused:
        parse_options([option])
    assert refused.value.exit_code is Exit.USAGE
    assert told in refused.value.message
    assert refused.value.message.endswith((".", "?"))


def test_sloppy_leaves_unknown_options_out() -> None:
    assert parse_options(["shiny,ro"], sloppy=True) == FstabOptions(read_only=True)


def test_a_user_mounts_only_for_himself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: STRANGER)
    with pytest.raises(CommandError, match="Only root may mount with uid=root"):
        mount_helper.become("root")
    with pytest.raises(CommandError, match="There is no user"):
        mount_helper.become("nobody-of-that-name")


def test_a_program_that_others_can_change_is_not_run_as_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    theirs = tmp_path / "venv" / "mount_helper.py"
    theirs.parent.mkdir()
    theirs.touch()
    os.chown(theirs.parent, STRANGER, STRANGER)
    monkeypatch.setattr(mount_helper, "__file__", str(theirs))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "setuid", lambda uid: pytest.fail("nothing may be changed"))
    with pytest.raises(CommandError, match="would be root"):
        mount_helper.become("nobody")


def test_the_program_answers_with_the_exit_codes_of_mount(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(mount_helper, "become_private", lambda: None)
    monkeypatch.setenv("HOLOFS_STATE_DIR", str(tmp_path / "none"))
    assert mount_helper.main(["docs", str(tmp_path), "-o", "shiny"]) == 1
    assert mount_helper.main(["docs"]) == 1
    assert mount_helper.main(["docs", str(tmp_path), "-o", "nofail"]) == 32
    assert mount_helper.main(["docs", str(tmp_path), "-f", "-n", "-v", "-t", "fuse.holofs", "-o", "ro"]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 3
    assert all(line.startswith("mount.fuse.holofs: ") for line in err.splitlines())


@pytest.mark.parametrize("installed", [True, False])
def test_the_daemon_is_started_by_systemd_where_the_device_is_installed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, installed: bool
) -> None:
    unit = LoginFile(Starter.SYSTEMD, tmp_path / "holofsd.service", "# for this device\n")
    if installed:
        unit.path.write_text(unit.text)
    started: list[Sequence[object]] = []
    monkeypatch.setattr(mount_helper, "unit_of", lambda state: unit)
    monkeypatch.setattr(mount_helper.user_manager, "answers", lambda: True)
    monkeypatch.setattr(mount_helper.user_manager, "order", started.append)
    monkeypatch.setattr(mount_helper.launcher, "running_pid", lambda state: 0)
    monkeypatch.setattr(mount_helper.launcher, "ensure_running", lambda state: started.append([state]))
    mount_helper._start(tmp_path)
    assert started == [("systemctl", "--user", "start", "holofsd.service") if installed else [tmp_path]]


@dataclass
class FakeClient:
    """A daemon that knows these mounts. `later`: what becomes of them when it brings them back."""

    mounts: list[pb.MountInfo]
    later: list[pb.MountInfo] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def call(self, method: str, request: Any, timeout_s: float = 0) -> Any:
        self.asked.append(method)
        if method == "Status":
            return pb.StatusReply(mounts=self.mounts)
        if method == "Mount":
            return self.later[0] if self.later else pb.MountInfo(allow=request.allow, no_exec=request.no_exec)
        return pb.RestoreMountsReply(mounts=self.later)


def mount(client: FakeClient, options: str = "") -> None:
    mount_helper._mount(client, "docs", "/m", parse_options([options]))  # type: ignore[arg-type]


def test_a_mount_that_is_there_is_no_error_and_otherwise_is_one() -> None:
    up = pb.MountInfo(volume="docs", path="/m", state="up", allow="other")
    client = FakeClient([pb.MountInfo(volume="docs", path="/other", state="up"), up])
    mount(client, "allow_other,nofail")
    assert client.asked == ["Status"]
    for options in ("", "allow_other,ro", "allow_other,noexec", "allow_root", "allow_other,at=2020-01-02"):
        with pytest.raises(CommandError, match="unmount it first"):
            mount(client, options)
    with pytest.raises(CommandError, match="shows pictures already"):
        mount(FakeClient([pb.MountInfo(volume="pictures", path="/m", state="up")]))
    fresh = FakeClient([])
    mount(fresh)
    assert fresh.asked == ["Status", "Mount"]


def test_a_remembered_mount_that_is_on_its_way_is_waited_for() -> None:
    starting, up, down = (pb.MountInfo(volume="docs", path="/m", state=s) for s in ("starting", "up", "down"))
    client = FakeClient([starting], [up])
    mount(client)
    assert client.asked == ["Status", "RestoreMounts"]
    down.explanation = "The folder is not empty."
    with pytest.raises(CommandError, match="/m is not mounted: The folder is not empty"):
        mount(FakeClient([down], [down]))


def test_an_earlier_daemon_that_passes_over_an_option_leaves_nothing_mounted() -> None:
    for option in ("allow_other", "noexec"):
        client = FakeClient([], [pb.MountInfo(volume="docs", path="/m", state="up")])
        with pytest.raises(CommandError, match="of an earlier program"):
            mount(client, option)
        assert client.asked == ["Status", "Mount", "Unmount"]
