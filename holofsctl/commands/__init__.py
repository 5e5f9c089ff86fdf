# SPDX-License-Identifier: GPL-3.0-or-later
"""Functions of the commands, one for each: (session, parsed arguments) -> exit code or None (0). Raises
CommandError."""
