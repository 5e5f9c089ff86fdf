# SPDX-License-Identifier: GPL-3.0-or-later
"""Eligibility for write-behind: one function for each operation, with its criteria as a list.

Each function returns the reason for which the operation runs synchronously (the program waits for the daemon's
answer), or None where the mount may acknowledge it at once. All are pure. One criterion is missing in the lists because
it cannot be known in advance: except for a set-attributes call, the operation must be in the journal before the program
is answered, and the journal may refuse it (the queue answers False then, and the caller goes synchronous).
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Final, NamedTuple

from holofs_api import PAST_INO
from holofs_api.v1 import filesystem_pb2 as pb

MAX_UNSENT_CREATES: Final = 64


class Reason(Enum):
    """Reason for which an operation waits for the daemon. docs/write-behind.md has the table."""

    DISCONNECTED = "The daemon is away: whether the operation succeeds, it alone can say when it is back."
    READ_ONLY = "The mount is read-only: the daemon refuses, and the program shall hear it."
    OTHER_MOUNTS = "Another mount of the volume is attached on this device, and must see what this one has answered."
    REPLAYING = "Operations of before a lost connection are being sent again; nothing may overtake them."
    FAILED_OPERATIONS = "The daemon refused acknowledged operations for now; what joins them would change places."
    QUEUE_FULL = "The queue is at its limit: the daemon cannot follow."
    NAME_NOT_KNOWN_FREE = "The mount does not hold the whole listing of the directory, or the listing has the name."
    OPENED_TO_READ = "The file is opened only to read: no commit follows that would carry the create."
    NO_LEASED_INODE = "No inode number of the lease is left."
    TOO_MANY_UNSENT = "Too many new files are unsent: the next foreground call sends them all first."
    OTHER_HANDLES = "Another handle of the file may go on writing: the daemon has to know it."
    UNLINKED = "The file has no name any more."
    INODE_NOT_KNOWN = "The mount does not know which inode it is, or its attributes."
    WRONG_KIND = "The inode is of another kind: the daemon answers with the error."
    OPEN_HERE = "The file is open here: the daemon must know its handles before the name goes."
    NOT_KNOWN_EMPTY = "The mount does not hold the whole listing of the directory, or something is in it."
    UNSENT_CREATES = "The daemon has not heard of some new files, which this operation may meet."
    PAST = "The inode belongs to a past state of the volume, which never changes."
    RESIZES = "A new size is content, and content is never acknowledged before it is stored."


class Conditions(NamedTuple):
    """State of the mount as a whole in the instant of a decision."""

    connected: bool
    writable: bool
    only_mount: bool
    """No other mount of the volume is attached on this device."""
    is_replaying: bool
    has_failed: bool
    at_limit: bool
    inode_leased: bool
    unsent_creates: int


Criteria = Sequence[tuple[bool, Reason]]


def create_must_wait(now: Conditions, *, name_is_free: bool, opened_to_write: bool) -> Reason | None:
    """Creating a file in the mount alone: the create travels with the first commit."""
    return _first_unmet(
        [
            (name_is_free, Reason.NAME_NOT_KNOWN_FREE),
            (opened_to_write, Reason.OPENED_TO_READ),
            (now.connected, Reason.DISCONNECTED),
            (not now.is_replaying, Reason.REPLAYING),
            (now.inode_leased, Reason.NO_LEASED_INODE),
            (now.only_mount, Reason.OTHER_MOUNTS),
            (now.unsent_creates < MAX_UNSENT_CREATES, Reason.TOO_MANY_UNSENT),
        ]
    )


def close_must_wait(now: Conditions, *, only_handle: bool, unlinked: bool) -> Reason | None:
    """Closing a small new file that the daemon has not heard of."""
    return _first_unmet(
        [
            (only_handle, Reason.OTHER_HANDLES),
            (not unlinked, Reason.UNLINKED),
            *_async_create(now),
        ]
    )


def mkdir_must_wait(now: Conditions, *, name_is_free: bool) -> Reason | None:
    """Making a directory."""
    return _first_unmet(
        [
            (name_is_free, Reason.NAME_NOT_KNOWN_FREE),
            *_async_create(now),
            (now.inode_leased, Reason.NO_LEASED_INODE),  # only a create asks the daemon for more
        ]
    )


def unlink_must_wait(now: Conditions, parent: int, attr: pb.Attr | None, *, is_open: bool) -> Reason | None:
    """Removing a name of a file or symbolic link. `attr`: of the inode at the name, as far as known here."""
    return _first_unmet(
        [
            (attr is not None, Reason.INODE_NOT_KNOWN),
            (attr is None or attr.kind != pb.KIND_DIRECTORY, Reason.WRONG_KIND),
            (not is_open, Reason.OPEN_HERE),
            *_removal(now, parent),
        ]
    )


def rmdir_must_wait(now: Conditions, parent: int, attr: pb.Attr | None, *, known_empty: bool) -> Reason | None:
    """Removing an empty directory. A name that another device makes in it meanwhile counts as made later (ADR 10)."""
    return _first_unmet(
        [
            (attr is not None, Reason.INODE_NOT_KNOWN),
            (attr is None or attr.kind == pb.KIND_DIRECTORY, Reason.WRONG_KIND),
            (known_empty, Reason.NOT_KNOWN_EMPTY),
            *_removal(now, parent),
        ]
    )


def set_attr_must_wait(now: Conditions, request: pb.SetAttrRequest, attr: pb.Attr | None) -> Reason | None:
    """Setting mode or times of a file. `attr`: of the file, as far as known here."""
    return _first_unmet(
        [
            (not request.HasField("size"), Reason.RESIZES),
            (request.ino < PAST_INO, Reason.PAST),
            *_queue_takes_more(now),
            (now.connected, Reason.DISCONNECTED),
            (attr is not None, Reason.INODE_NOT_KNOWN),
            (attr is None or attr.kind == pb.KIND_FILE, Reason.WRONG_KIND),
        ]
    )


def _async_create(now: Conditions) -> Criteria:
    return [
        (now.only_mount, Reason.OTHER_MOUNTS),
        (now.connected, Reason.DISCONNECTED),
        *_queue_takes_more(now),
        (now.writable, Reason.READ_ONLY),
    ]


def _removal(now: Conditions, parent: int) -> Criteria:
    return [
        (now.connected, Reason.DISCONNECTED),
        *_queue_takes_more(now),
        (not now.unsent_creates, Reason.UNSENT_CREATES),
        (now.only_mount, Reason.OTHER_MOUNTS),
        (parent < PAST_INO, Reason.PAST),
    ]


def _queue_takes_more(now: Conditions) -> Criteria:
    return [
        (not now.is_replaying, Reason.REPLAYING),
        (not now.has_failed, Reason.FAILED_OPERATIONS),
        (not now.at_limit, Reason.QUEUE_FULL),
    ]


def _first_unmet(criteria: Criteria) -> Reason | None:
    return next((reason for is_met, reason in criteria if not is_met), None)
