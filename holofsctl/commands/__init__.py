# SPDX-License-Identifier: GPL-3.0-or-later
"""One function per command: (session, parsed arguments) -> exit code or None (0). Raises CommandError."""
