# SPDX-License-Identifier: GPL-3.0-or-later
"""Another user of this machine: runs a function in a child process that has given up root. Needs root."""

from __future__ import annotations

import ctypes
import os
import sys
import traceback
from collections.abc import Callable
from typing import Final

STRANGER: Final = 54321
"""A user id that owns nothing here."""
_PR_SET_DUMPABLE: Final = 4


def as_user(action: Callable[[], str], user: int = STRANGER) -> str:
    """Result of the function in a process of that user; its failure is one here. Nothing else comes back."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(reading)
            os.setgroups([])
            os.setgid(user)
            os.setuid(user)
            ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)  # as after an exec; a change of the user took it
            os.write(writing, action().encode())
            code = 0
        except BaseException:  # noqa: BLE001 - the end of this process
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        told = pipe.read().decode()
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0, "the process of another user failed; see standard error"
    return told
