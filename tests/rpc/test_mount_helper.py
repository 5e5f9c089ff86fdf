# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of `mount.fuse.holofs`: which are obeyed, which are left to mount(8), and how the others are refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from holofs_api.mount_access import Allow
from holofsctl import mount_helper
from holofsctl.errors import CommandError
from holofsctl.exit_codes import Exit
from holofsctl.fstab_options import FstabOptions, parse_options
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
