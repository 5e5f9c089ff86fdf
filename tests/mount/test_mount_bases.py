# SPDX-License-Identifier: GPL-3.0-or-later
"""Bases of writes follow from what a process has read, in whatever order the news comes."""

from __future__ import annotations

from holofs_mount.core.bases import ReadTracker

INO, PID, OTHER = 7, 100, 200


def test_a_process_that_read_the_old_version_writes_on_top_of_that() -> None:
    tracker = ReadTracker()
    tracker.has_read(INO, b"v1", PID)
    tracker.changed(INO, b"v1", b"v2", elsewhere=True)
    assert tracker.base(INO, PID) == b"v1"
    assert tracker.base(INO, OTHER) == b""
    tracker.has_read(INO, b"v2", PID)
    assert tracker.base(INO, PID) == b""


def test_news_of_a_version_that_was_read_already_make_nobody_stale() -> None:
    tracker = ReadTracker()
    tracker.has_read(INO, b"v1", PID)
    tracker.has_read(INO, b"v1", OTHER)
    tracker.has_read(INO, b"v2", PID)
    tracker.changed(INO, b"v1", b"v2", elsewhere=True)
    assert tracker.base(INO, PID) == b""
    assert tracker.base(INO, OTHER) == b"v1"


def test_several_late_news_end_with_what_was_read() -> None:
    tracker = ReadTracker()
    tracker.has_read(INO, b"v1", PID)
    tracker.has_read(INO, b"v3", PID)
    tracker.changed(INO, b"v1", b"v2", elsewhere=True)
    tracker.changed(INO, b"v2", b"v3", elsewhere=True)
    assert tracker.base(INO, PID) == b""
