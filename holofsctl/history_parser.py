# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of the commands about what was."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from holofsctl.commands import history
from holofsctl.exit_codes import EPILOG
from holofsctl.numbers import amount, kept


def add(command: Callable[..., argparse.ArgumentParser]) -> None:
    listed = command("history", history.history, "The versions of a file that are kept, newest first.")
    listed.add_argument("place", metavar="PATH", help="also of a file that was removed; NAME:PATH without a mount")
    _restore(command("restore", history.restore, "Brings back an old version, or what was removed."), False)
    _trash(command("trash", history.list_trash, "What was removed and is still kept."))
    policy = command("history-policy", history.history_policy, "How long, and how much, this device keeps of what was.")
    policy.add_argument("name", metavar="NAME", nargs="?", help="without it: the size for the whole device")
    policy.add_argument("--all", type=kept, metavar="T", help="every replaced version for so long, for example 30d")
    policy.add_argument("--daily", type=kept, metavar="T", help="then one a day, and the trash, for example 365d")
    policy.add_argument(
        "--max", type=amount, metavar="SIZE", help="what history and trash may take, for example 20G; auto: the default"
    )
    gc = command("gc", history.gc, "Deletes content that nothing needs any more: no file, version or trash.")
    gc.add_argument("name", metavar="NAME")
    gc.add_argument("--now", action="store_true", help="also what became useless less than a day ago")


def _restore(parser: argparse.ArgumentParser, from_trash: bool) -> None:
    parser.add_argument("place", metavar="PATH", help="of a file or folder; NAME:PATH without a mount")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--version", metavar="ID", help="as `history` lists them; else the one before, or what is gone")
    which.add_argument("--at", type=history.time_told, metavar="TIME", help="as it was, for example '2026-11-20 14:30'")
    parser.add_argument("--to", default="", metavar="PATH", help="as a new file or folder there")
    parser.set_defaults(run=history.restore, from_trash=from_trash)


def _trash(parser: argparse.ArgumentParser) -> None:
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print data as JSON")
    shared.add_argument("--state-dir", default=argparse.SUPPRESS, metavar="DIR", help="the device's state directory")
    actions = parser.add_subparsers(dest="action", metavar="list|restore|empty", required=True)
    text = "What was removed and is kept."
    listed = actions.add_parser("list", parents=[shared], epilog=EPILOG, description=text, help=text)
    listed.add_argument("place", metavar="NAME|PATH")
    listed.add_argument("--all", action="store_true", help="every file by itself, also of removed folders")
    listed.set_defaults(run=history.list_trash)
    text = "Brings back what was removed, though something may have its name now."
    _restore(actions.add_parser("restore", parents=[shared], epilog=EPILOG, description=text, help=text), True)
    text = "Lets go of what was removed, on this device."
    empty = actions.add_parser("empty", parents=[shared], epilog=EPILOG, description=text, help=text)
    empty.add_argument("place", metavar="NAME|PATH")
    empty.add_argument("--older", type=kept, default=0, metavar="T", help="only what was removed before, e.g. 30d")
    empty.set_defaults(run=history.empty_trash)
