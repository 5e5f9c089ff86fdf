# SPDX-License-Identifier: GPL-3.0-or-later
"""Lies in `status`: shown in full while they are recent, then as a number, so that it is calm again by itself."""

from __future__ import annotations

import time

from holofs_api.v1 import control_pb2 as pb
from holofsctl.status_view import status_lines

DAY_MS = 86_400_000


def lines_about(*lies: pb.Lie) -> list[str]:
    volume = pb.VolumeStatus(volume=pb.Volume(name="docs", state="ready"), lies=lies)
    lines = status_lines(pb.StatusReply(volumes=[volume]))
    return [line.strip() for line in lines if "Untrue" in line or "Long ago" in line]


def lie(days: int, number: int) -> pb.Lie:
    last_ms = int(time.time() * 1000) - days * DAY_MS
    return pb.Lie(name="rogue", what=f"told {number}", number=number, first_ms=1, last_ms=last_ms, example="file")


def test_a_recent_lie_is_shown_in_full() -> None:
    (line,) = lines_about(lie(29, 2))
    assert line.startswith("Untrue: rogue told 2 (2 times, last at ")


def test_what_was_told_long_ago_is_one_line_with_the_number_of_all() -> None:
    full, rest = lines_about(lie(1, 5), lie(31, 3), lie(400, 40))
    assert "told 5" in full
    assert rest.startswith("Long ago: 43 untrue statements of members, the last at ")
    assert "rogue" not in rest


def test_an_honest_volume_has_no_line() -> None:
    assert lines_about() == []
