# SPDX-License-Identifier: GPL-3.0-or-later
"""Ending a connection by the control filesystem; tests/e2e/test_killed_mounts.py ends a real one by force."""

from __future__ import annotations

from pathlib import Path

import pytest

from holofs_api import guard as module
from holofsd.daemon.processes import hanging


def test_a_connection_is_ended_by_the_file_that_belongs_to_who_mounted_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CONTROL", tmp_path)
    (tmp_path / "41").mkdir()
    (tmp_path / "41" / "abort").touch()
    assert module.end_connection(41, str(tmp_path / "mnt"))
    assert (tmp_path / "41" / "abort").read_text() == "1"


def test_nothing_is_forced_where_the_path_has_another_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CONTROL", tmp_path)
    monkeypatch.setattr(module, "connection_at", lambda path: 42)
    assert not module.end_connection(41, str(tmp_path))


def test_what_is_no_fuse_mount_has_no_connection(tmp_path: Path) -> None:
    assert module.connection_at("/proc") is None
    assert module.connection_at(str(tmp_path)) is None


def test_a_process_that_lives_does_not_hang(tmp_path: Path) -> None:
    assert hanging("pytest", tmp_path) == 0
