# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of import and export."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from holofsctl.commands import transfers


def add(command: Callable[..., argparse.ArgumentParser]) -> None:
    text = "Takes all files of a folder into a volume, faster than copying them into a mount. Again: it goes on."
    taken = command("import", transfers.import_folder, text)
    taken.add_argument("folder", metavar="DIR")
    taken.add_argument("place", metavar="NAME[:PATH]", help="the volume, and a folder in it, which is made if needed")
    taken.add_argument(
        "--move",
        action="store_true",
        help="remove each file from DIR once it is stored; needs no room on the same disk",
    )
    taken.add_argument("--verify", action="store_true", help="read everything again, and compare it")
    text = "Copies a volume, or a folder or file of it, into a folder, without a mount. Again: it goes on."
    given = command("export", transfers.export_folder, text)
    given.add_argument("place", metavar="NAME[:PATH]", help="the volume, and what to copy of it")
    given.add_argument("folder", metavar="DIR", help="where to; it is made if needed")
    given.add_argument("--verify", action="store_true", help="read everything again, and compare it")
