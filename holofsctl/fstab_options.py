# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of `mount -o` and of fstab for a HoloFS mount: ours are obeyed, those of mount(8) itself are left to it.

Any other option is refused. A helper gets some of the options of mount(8), by its version: `user` and `nofail` arrive,
and `x-...` does not.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from holofs_api.mount_access import Allow
from holofsctl.commands.history import time_told
from holofsctl.errors import CommandError
from holofsctl.exit_codes import Exit
from holofsctl.mistakes import did_you_mean
from holofsctl.output import safe

_OF_MOUNT: Final = frozenset(
    {
        *("defaults", "auto", "noauto", "user", "nouser", "users", "nousers", "owner", "noowner", "group", "nogroup"),
        *("_netdev", "nofail", "silent", "loud"),
    }
)
"""Options that mean something to mount(8) alone, or to what reads fstab."""
_OF_MOUNT_BEGINNINGS: Final = ("x-", "X-", "comment=", "helper=", "uhelper=")
_ALWAYS: Final = frozenset(
    {
        *("nosuid", "nodev", "default_permissions", "async", "nomand", "noiversion"),
        *("atime", "noatime", "diratime", "nodiratime", "relatime", "norelatime", "strictatime", "nostrictatime"),
        *("lazytime", "nolazytime"),
    }
)
"""Options that change nothing: every HoloFS mount is so, and access times are not kept at all."""
_BINDINGS: Final = ("pyfuse3", "fusepy")


@dataclass(slots=True)
class FstabOptions:
    """Options of one mount, as they were told."""

    read_only: bool = False
    allow: Allow = Allow.OWNER
    no_exec: bool = False
    uid: str = ""
    """User whose device it is, by name or number; empty: the user who mounts."""
    state_dir: str | None = None
    at_ms: int = 0
    binding: str = ""


_FLAGS: Final[dict[str, tuple[str, object]]] = {
    "ro": ("read_only", True),
    "rw": ("read_only", False),
    "noexec": ("no_exec", True),
    "exec": ("no_exec", False),
    "allow_other": ("allow", Allow.OTHER),
    "allow_root": ("allow", Allow.ROOT),
}
_VALUES: Final = ("uid", "state_dir", "at", "binding")


def parse_options(told: Iterable[str], *, sloppy: bool = False) -> FstabOptions:
    """The options of several `-o`, the later ones before the earlier. Raises CommandError for what cannot be obeyed.

    `sloppy`: unknown ones are left out, as `mount -s` asks for.
    """
    found = FstabOptions()
    for option in (part for parts in told for part in parts.split(",") if part):
        name, equals, value = option.partition("=")
        if option in _FLAGS:
            field, setting = _FLAGS[option]
            setattr(found, field, setting)
        elif name in _VALUES:
            _set(found, name, value)
        elif not (option in _OF_MOUNT | _ALWAYS or option.startswith(_OF_MOUNT_BEGINNINGS) or sloppy):
            raise _unknown(option, name, bool(equals))
    return found


def _set(found: FstabOptions, name: str, value: str) -> None:
    if not value:
        raise _refused(f"The option {name}= is empty: say its value, or leave it out.")
    if name == "uid":
        found.uid = value
    elif name == "state_dir":
        if not value.startswith("/"):
            raise _refused(f"The option state_dir={safe(value)} is no absolute path.")
        found.state_dir = value
    elif name == "at":
        found.at_ms = _checked(time_told, value)
    elif value in _BINDINGS:
        found.binding = value
    else:
        raise _refused(f"The option binding= takes {' or '.join(_BINDINGS)}, not {safe(value)}.")


def _checked(parse: Callable[[str], int], value: str) -> int:
    try:
        return parse(value)
    except argparse.ArgumentTypeError as error:
        raise _refused(f"The option at=: {error}.") from None


def _unknown(option: str, name: str, has_value: bool) -> CommandError:
    told = safe(option)
    if name in ("user", "setuid") and has_value:
        return _refused(f"The option {told} does not say whose device it is: write uid= instead.")
    if name in ("suid", "dev"):
        return _refused(f"The option {told} cannot be had: no HoloFS mount has set-user-ID programs or devices.")
    if name in ("gid", "umask", "fmask", "dmask"):
        return _refused(f"The option {told} cannot be had: files have the modes that they were given, and one owner.")
    known = (*_FLAGS, *(f"{value}=" for value in _VALUES), *_OF_MOUNT)
    return _refused(f"There is no option {told} for a HoloFS mount.{did_you_mean(name, known)}")


def _refused(sentence: str) -> CommandError:
    return CommandError(sentence, Exit.USAGE, "bad-argument")
