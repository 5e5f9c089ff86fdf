# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of brake, record-budget and scrub."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from holofsctl.commands import safety
from holofsctl.numbers import amount, number


def add(command: Callable[..., argparse.ArgumentParser]) -> None:
    text = "Holds removals from other devices when they are very many, until you accept or refuse them."
    brake = command("brake", safety.brake, text)
    brake.add_argument("name", metavar="NAME")
    brake.add_argument("--files", type=number(0), metavar="N", help="hold when more than N files go (50)")
    brake.add_argument("--percent", type=number(0, 100), metavar="P", help="and more than P percent of the volume (20)")
    skip = "name of folders whose content is made by tools (repeatable; replaces those named before)"
    skips = brake.add_mutually_exclusive_group()
    skips.add_argument("--skip", action="append", metavar="FOLDER", help=skip)
    skips.add_argument("--no-skip", dest="skip", action="store_const", const=[], help="forget the folders named before")
    verdicts = brake.add_mutually_exclusive_group()
    for verdict, told in (
        ("off", "never hold anything"),
        ("accept", "let happen what is held"),
        ("refuse", "keep what is held, on every device"),
    ):
        verdicts.add_argument(
            f"--{verdict}", dest="verdict", action="store_const", const=verdict, default="", help=told
        )
    budget = command(
        "record-budget", safety.record_budget, "What the records of each other device take here, and may take."
    )
    budget.add_argument("name", metavar="NAME")
    budget.add_argument(
        "--max", type=amount, metavar="SIZE", help="for each other device, for example 12G; auto: the default"
    )
    scrub = command("scrub", safety.scrub, "Reads all content of this device, and repairs from others what is damaged.")
    scrub.add_argument("name", nargs="?", default="", metavar="NAME", help="one volume; without it all")
    scrub.add_argument("--no-wait", action="store_true", help="do not wait for repairs; they go on by themselves")
