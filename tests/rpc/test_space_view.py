# SPDX-License-Identifier: GPL-3.0-or-later
"""Sentences of `status` and `doctor` about a full disk."""

from __future__ import annotations

from holofs_api.v1 import control_pb2 as pb
from holofsctl.space_view import refusal_lines
from holofsctl.status_view import status_lines

MIB = 1 << 20


def reply(refused: bool, trash: int = 0, history: int = 0, garbage: int = 0) -> pb.StatusReply:
    told = pb.StatusReply(space=pb.SpaceStatus(free_bytes=MIB, total_bytes=999 * MIB, reserve_bytes=32 * MIB))
    told.space.refused, told.space.refused_since_ms = refused, 1_700_000_000_000
    volume = told.volumes.add(volume=pb.Volume(name="my docs", state="ready"))
    volume.history.MergeFrom(pb.HistoryStatus(bytes=history, trash_bytes=trash, garbage_bytes=garbage))
    return told


def test_nothing_is_said_while_writing_is_possible() -> None:
    assert refusal_lines(reply(False, trash=5 * MIB)) == []
    assert not any("refused" in line for line in status_lines(reply(False)))


def test_what_would_make_room_is_named_with_its_size_and_its_command() -> None:
    first, *rest = refusal_lines(reply(True, trash=5 * MIB, history=6 * MIB, garbage=7 * MIB))
    assert first.startswith("Writing is refused (since 2023-11-1")
    assert "1.0 MiB left of 999 MiB" in first
    for line, amount, command in zip(
        rest,
        ("5.0 MiB", "6.0 MiB", "7.0 MiB"),
        ("trash empty 'my docs'`", "history-policy 'my docs' --max 0`", "gc 'my docs' --now`"),
        strict=True,
    ):
        assert amount in line
        assert command in line
    assert first in status_lines(reply(True, trash=5 * MIB, history=6 * MIB, garbage=7 * MIB))


def test_where_nothing_of_holofs_can_go_it_says_so() -> None:
    (only,) = refusal_lines(reply(True))
    assert "nothing there that could go but the files themselves" in only
