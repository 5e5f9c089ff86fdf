# SPDX-License-Identifier: GPL-3.0-or-later
"""The one exception of the command line: a sentence for standard error, and the exit code."""

from __future__ import annotations

from holofsctl.exit_codes import Exit


class CommandError(Exception):
    def __init__(self, message: str, exit_code: Exit = Exit.FAILED, code: str = "failed") -> None:
        super().__init__(message)
        self.message = message
        self.exit_code = exit_code
        self.code = code
        """Stable, for programs: that of the daemon's error where there is one."""
