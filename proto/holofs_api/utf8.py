# SPDX-License-Identifier: GPL-3.0-or-later
"""File names are UTF-8 in every locale: programs that talk about paths with each other must read them alike."""

from __future__ import annotations

import os
import sys
from typing import Final

MODE: Final = ("-X", "utf8")
"""Options of Python for every process that is started."""


def require_utf8(module: str) -> None:
    """Start the program anew, as `python -m module`, where Python took another encoding for paths from the locale.

    Only with a locale of the old kind, like de_DE.ISO-8859-1. What is printed stays in its encoding.
    """
    if sys.getfilesystemencoding().lower() in ("utf-8", "utf8"):
        return
    environment = os.environb.copy()
    if sys.stdout is not None:
        environment.setdefault(b"PYTHONIOENCODING", sys.stdout.encoding.encode())
    words = [sys.executable, *MODE, "-m", module, *sys.argv[1:]]
    os.execve(sys.executable, [os.fsencode(word) for word in words], environment)
