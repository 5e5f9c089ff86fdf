# SPDX-License-Identifier: GPL-3.0-or-later
"""Operations of programs on one device, by number: each operation picks its paths from what the device shows at that
moment, so that any part of a program is a program. Every operation tells the ledger what it acts on and what was
answered."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from model.brakes import Brakes
from model.folders import Folders
from model.folding import Folding
from model.hardlinks import HardLinks
from model.limits import Limits
from model.looking import Numbers
from model.pasts import Pasts
from model.saves import Saves
from model.settles import Settles


class Actor(Saves, Settles, Pasts, Folding, Folders, HardLinks, Limits, Brakes):
    """All operations of programs and people."""


Operation = Callable[[Actor, Numbers], Awaitable[None]]

OPERATIONS: dict[str, tuple[Operation, int]] = {
    "write": (Actor.write, 14),
    "write_same": (Actor.write_same, 3),
    "rewrite": (Actor.rewrite, 10),
    "create_new": (Actor.create_new, 2),
    "append": (Actor.append, 6),
    "overwrite": (Actor.overwrite, 4),
    "late_write": (Actor.late_write, 3),
    "truncate": (Actor.truncate, 4),
    "unlink": (Actor.unlink, 5),
    "unlink_copy": (Actor.unlink_copy, 4),
    "rename": (Actor.rename, 7),
    "rename_copy": (Actor.rename_copy, 4),
    "rename_folder": (Actor.rename_folder, 4),
    "exchange": (Actor.exchange, 2),
    "mkdir": (Actor.mkdir, 5),
    "rmdir": (Actor.rmdir, 2),
    "remove_all": (Actor.remove_all, 2),
    "make_path": (Actor.make_path, 3),
    "make_and_rename": (Actor.make_and_rename, 2),
    "make_again": (Actor.make_again, 3),
    "move_over_empty": (Actor.move_over_empty, 3),
    "move_up": (Actor.move_up, 2),
    "write_inside": (Actor.write_inside, 4),
    "symlink": (Actor.symlink, 2),
    "link": (Actor.link, 3),
    "chmod": (Actor.chmod, 2),
    "utime": (Actor.utime, 2),
    "xattr": (Actor.xattr, 3),
    "save_with_backup": (Actor.save_with_backup, 4),
    "save_over": (Actor.save_over, 6),
    "save_anew": (Actor.save_anew, 4),
    "save_stale": (Actor.save_stale, 2),
    "hold": (Actor.hold, 5),
    "hold_new": (Actor.hold_new, 2),
    "held_write": (Actor.held_write, 7),
    "held_commit": (Actor.held_commit, 3),
    "held_sync": (Actor.held_sync, 2),
    "held_read": (Actor.held_read, 2),
    "held_close": (Actor.held_close, 5),
    "settle": (Actor.settle, 6),
    "settle_all": (Actor.settle_all, 2),
    "restore_version": (Actor.restore_version, 4),
    "restore_trash": (Actor.restore_trash, 4),
    "restore_beside": (Actor.restore_beside, 2),
    "restore_time": (Actor.restore_time, 2),
    "collect": (Actor.collect, 3),
    "empty_trash": (Actor.empty_trash, 2),
    "tidy": (Actor.tidy, 1),
    "folder_make": (Actor.folder_make, 2),
    "folder_fill": (Actor.folder_fill, 2),
    "folder_move": (Actor.folder_move, 2),
    "folder_new_name": (Actor.folder_new_name, 1),
    "folder_rmdir": (Actor.folder_rmdir, 1),
    "folder_wipe": (Actor.folder_wipe, 1),
    "folder_renew": (Actor.folder_renew, 1),
    "folder_out": (Actor.folder_out, 1),
    "link_more": (Actor.link_more, 1),
    "link_unlink": (Actor.link_unlink, 1),
    "link_write": (Actor.link_write, 1),
    "link_over": (Actor.link_over, 1),
    "link_move": (Actor.link_move, 1),
    "link_remove_all": (Actor.link_remove_all, 1),
    "limit_time": (Actor.limit_time, 1),
    "limit_mode": (Actor.limit_mode, 1),
    "limit_size": (Actor.limit_size, 1),
    "limit_name": (Actor.limit_name, 1),
    "limit_rename": (Actor.limit_rename, 1),
    "limit_xattr": (Actor.limit_xattr, 1),
    "brake_limit": (Actor.brake_limit, 1),
    "brake_purge": (Actor.brake_purge, 1),
    "brake_accept": (Actor.brake_accept, 1),
    "brake_refuse": (Actor.brake_refuse, 1),
    "squeeze": (Actor.squeeze, 1),
}

FOCUS = {
    "folders": [name for name in OPERATIONS if name.startswith("folder_")],
    "hard links": [name for name in OPERATIONS if name.startswith("link_")],
    "brake": [name for name in OPERATIONS if name.startswith("brake_")],
    "limits": [name for name in OPERATIONS if name.startswith("limit_")],
}
"""What some runs do at a high rate."""
