# SPDX-License-Identifier: GPL-3.0-or-later
"""A full disk, for `status` and `doctor`: what is refused, since when, and what gives room back."""

from __future__ import annotations

from holofs_api.shell import shell_word
from holofs_api.v1 import control_pb2 as pb
from holofsctl.output import moment, size, table


def refusal_lines(reply: pb.StatusReply) -> list[str]:
    """Empty where writing is possible."""
    space = reply.space
    if not space.refused:
        return []
    return [f"{refusal(space)}{_advice(reply)}", *_what_makes_room(reply)]


def refusal(space: pb.SpaceStatus) -> str:
    return (
        f"Writing is refused (since {moment(space.refused_since_ms)}): the disk has {size(space.free_bytes)} left of"
        f" {size(space.total_bytes)}, and HoloFS keeps {size(space.reserve_bytes)} free to stay able to remove files."
    )


def _advice(reply: pb.StatusReply) -> str:
    if _what_makes_room(reply):
        return " Remove what other programs keep on that disk, or:"
    return " HoloFS keeps nothing there that could go but the files themselves: remove some, or what others keep there."


def _what_makes_room(reply: pb.StatusReply) -> list[str]:
    rows = []
    for volume in reply.volumes:
        word, kept = shell_word(volume.volume.name), volume.history
        choices = (
            ("trash", kept.trash_bytes, f"`holofsctl trash empty {word}`, then `holofsctl gc {word} --now`"),
            ("history", kept.bytes, f"`holofsctl history-policy {word} --max 0` lets go of all of it"),
            ("not needed any more", kept.garbage_bytes, f"`holofsctl gc {word} --now`"),
        )
        rows += [(f"{word}: {what}", size(bytes), how) for what, bytes, how in choices if bytes]
    return table(rows, indent="    ")
