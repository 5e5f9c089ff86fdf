# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of `config`."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from holofs_api.settings import BY_KEY
from holofsctl.commands import config
from holofsctl.exit_codes import EPILOG

_ACTIONS = (
    ("list", config.list_settings, "All settings, each with where it comes from. Also without the daemon."),
    ("get", config.get, "The value of one setting. Also without the daemon."),
    ("set", config.set_value, "Writes a value into the settings file, which is made where there is none."),
    ("unset", config.unset, "Takes a value out of the settings file: the default counts again."),
    ("edit", config.edit, "Opens the settings file in $VISUAL or $EDITOR, and saves it if it has no fault."),
    ("path", config.path, "Where the settings file is. Also without the daemon."),
    ("reload", config.reload, "Lets the daemon read the settings file again, after you changed it by hand."),
)


def add(command: Callable[..., argparse.ArgumentParser], common: Callable[[], argparse.ArgumentParser]) -> None:
    parser = command("config", config.list_settings, "Settings of this device: shows and changes them.")
    names = "|".join(name for name, _, _ in _ACTIONS)
    actions = parser.add_subparsers(dest="action", metavar=names, required=True)
    for name, run, text in _ACTIONS:
        action = actions.add_parser(name, parents=[common()], description=text, help=text, epilog=EPILOG)
        action.set_defaults(run=run)
        if name in ("get", "set", "unset"):
            action.add_argument("key", choices=[*BY_KEY], metavar="KEY", help="as `holofsctl config list` shows them")
        if name == "set":
            action.add_argument("values", nargs="+", metavar="VALUE", help="several, or with commas, for a list")
