# SPDX-License-Identifier: GPL-3.0-or-later
"""What programs do on one device, by number: each operation picks its paths from what the device shows at that moment,
so that any part of a program is a program. Every operation tells the ledger what it acts on and what was answered.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from model.looking import Numbers
from model.pasts import Pasts
from model.saves import Saves
from model.settles import Settles


class Actor(Saves, Settles, Pasts):
    """Everything that programs and people do."""


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
    "squeeze": (Actor.squeeze, 1),
}
