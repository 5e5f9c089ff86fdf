# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of the page, read once: what is not in this table does not exist for a browser."""

from __future__ import annotations

from importlib.resources import files
from typing import Final

_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


def page_files() -> dict[str, tuple[bytes, str]]:
    """Content and media type of each file, by its name."""
    found = {}
    for file in files("holofs_window").joinpath("page").iterdir():
        type = _TYPES.get(f".{file.name.rpartition('.')[2]}")
        if type is not None:
            found[file.name] = (file.read_bytes(), type)
    return found
