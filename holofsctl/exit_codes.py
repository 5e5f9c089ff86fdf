# SPDX-License-Identifier: GPL-3.0-or-later
"""The exit codes of holofsctl: scripts rely on them, so they never change their meaning."""

from __future__ import annotations

import errno
from enum import IntEnum
from typing import Final

from holofs_api.v1.errors_pb2 import ErrorDetail


class Exit(IntEnum):
    OK = 0
    FAILED = 1
    """The command failed; standard error says why."""
    USAGE = 2
    """The command line, a name, a path or a number in it makes no sense."""
    NOT_RUNNING = 3
    """No daemon answers for this state directory."""
    REFUSED = 4
    """The other side refused, or cannot be reached: a ticket, a role, a device."""
    TIMED_OUT = 5
    """The time was up; what was asked for may still happen."""
    INTERRUPTED = 130
    """Ctrl-C."""


EPILOG: Final = (
    "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 the daemon is not running, 4 refused or unreachable, "
    "5 not within the time given, 130 interrupted"
)

_BY_CODE: Final = {
    "grpc-unavailable": Exit.NOT_RUNNING,
    "grpc-deadline-exceeded": Exit.TIMED_OUT,
    "content-timeout": Exit.TIMED_OUT,
    "timed-out": Exit.TIMED_OUT,
    "bad-argument": Exit.USAGE,
    "ticket-invalid": Exit.USAGE,
    "recovery-invalid": Exit.USAGE,
    "unreachable": Exit.REFUSED,
    "connection-lost": Exit.REFUSED,
}
_BY_ERRNO: Final = {
    errno.EACCES: Exit.REFUSED,
    errno.EPERM: Exit.REFUSED,
    errno.EHOSTUNREACH: Exit.REFUSED,
    errno.ETIMEDOUT: Exit.TIMED_OUT,
}


def of_detail(detail: ErrorDetail) -> Exit:
    """Exit code for a failed call."""
    known = _BY_CODE.get(detail.code)
    return known if known is not None else _BY_ERRNO.get(detail.errno, Exit.FAILED)
