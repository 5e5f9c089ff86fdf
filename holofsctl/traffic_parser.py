# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of pause, resume and limit."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from holofs_api.setting_kinds import BadValue, Value
from holofs_api.settings import BY_KEY
from holofsctl.commands import traffic
from holofsctl.numbers import time_limit

_OPTIONS = (
    ("down", "fetch at most so much a second, for example 5M; off: no limit"),
    ("up", "send at most so much a second; off: no limit"),
    ("timetable", 'limits by time, for example "08:00,512K 19:00,off"; off: none'),
    ("lan_exempt", "whether devices in the local network are not limited"),
    ("metered", "wait: on a metered network only what programs read is fetched"),
)


def add(command: Callable[..., argparse.ArgumentParser]) -> None:
    text = "Stops the traffic of a volume, with a device, or all of it; files here go on working."
    paused = command("pause", traffic.pause, text)
    _target(paused, "only with this device")
    how_long = "for example 2h; without it until `holofsctl resume`"
    paused.add_argument("--for", dest="seconds", type=time_limit, default=0, metavar="T", help=how_long)
    resumed = command("resume", traffic.resume, "Ends pauses: of a volume, of a device, or all of them.")
    _target(resumed, "the pause of this device")
    limit = command("limit", traffic.limit, "Shows how much is sent and fetched at most, and changes it.")
    for name, told in _OPTIONS:
        kind = BY_KEY[f"limit.{name}"].kind
        option = f"--{name.replace('_', '-')}"
        limit.add_argument(option, dest=name, type=_value(name), metavar=kind.metavar, help=told)
    limit.add_argument("--off", action="store_true", help="take away all limits of speed")


def _target(parser: argparse.ArgumentParser, told: str) -> None:
    which = parser.add_mutually_exclusive_group()
    which.add_argument("name", nargs="?", default="", metavar="NAME", help="one volume; without it all")
    which.add_argument("--device", default="", metavar="DEVICE", help=told)


def _value(name: str) -> Callable[[str], Value]:
    """Type of an option that is the setting of that name."""

    def parse(text: str) -> Value:
        try:
            return BY_KEY[f"limit.{name}"].kind.of_text(text)
        except BadValue as error:
            raise argparse.ArgumentTypeError(f"the value {error}") from None

    return parse
