# SPDX-License-Identifier: GPL-3.0-or-later
"""Manual pages of the programs, made from their parsers, so that they say what `--help` says."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from holofs_api import VERSION
from holofs_api.settings import ENVIRONMENT_ONLY, SETTINGS
from holofs_mount.options import build as mount_parser
from holofsctl.mount_helper import build as helper_parser
from holofsctl.parser import build as command_parser
from holofsd.daemon.main import build as daemon_parser

TITLES: Final = {
    "holofsctl": "commands for the HoloFS daemon of this device",
    "holofsd": "the HoloFS daemon of one device",
    "holofs-mount": "mount of one HoloFS volume",
    "mount.fuse.holofs": "mount helper of mount(8) for HoloFS volumes",
}
ENVIRONMENT: Final = (
    *ENVIRONMENT_ONLY.items(),
    *(
        (variable, f"{setting.help}: the setting {setting.key}")
        for setting in SETTINGS
        for variable in setting.variables
    ),
)


def page(parser: argparse.ArgumentParser) -> str:
    """The page in the language of man(7)."""
    lines = [
        '.\\" SPDX-License-Identifier: GPL-3.0-or-later',
        '.\\" Written by scripts/man; do not edit.',
        f'.TH {parser.prog.upper()} 1 "" "HoloFS {VERSION}" "HoloFS"',
        *(".SH NAME", f"{_text(parser.prog)} \\- {_text(TITLES[parser.prog])}"),
        *(".SH SYNOPSIS", *_usage(parser)),
        *(".SH DESCRIPTION", _text(parser.description or "Sends commands to the daemon of one device.")),
        *(".SH OPTIONS", *_arguments(parser)),
    ]
    commands = [*_commands(parser)]
    if commands:
        lines.append(".SH COMMANDS")
        for inner in commands:
            lines += [f'.SS "{_text(inner.prog)}"', *_usage(inner), ".PP", _text(inner.description or "")]
            lines += _arguments(inner, but=("help", "json", "state_dir"))
    lines.append(".SH ENVIRONMENT")
    for name, told in ENVIRONMENT:
        lines += [".TP", f".B {name}", _text(told)]
    epilog = (commands[0] if commands else parser).epilog or ""
    lines += [".SH EXIT STATUS" if epilog.startswith("Exit codes") else ".SH NOTES", _text(" ".join(epilog.split()))]
    lines += [".SH SEE ALSO", *_others(parser.prog)]
    return "\n".join(lines) + "\n"


def _commands(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """Commands that can be run, those of commands too."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                if any(isinstance(other, argparse._SubParsersAction) for other in inner._actions):
                    yield from _commands(inner)
                else:
                    yield inner


def _usage(parser: argparse.ArgumentParser) -> list[str]:
    usage = " ".join(parser.format_usage().removeprefix("usage: ").split())
    return [_text(usage)]


def _arguments(parser: argparse.ArgumentParser, but: tuple[str, ...] = ()) -> Iterator[str]:
    for action in parser._actions:
        if (
            action.dest in but
            or action.help in (None, argparse.SUPPRESS)
            or isinstance(action, argparse._SubParsersAction)
        ):
            continue
        metavar = action.metavar or "|".join(map(str, action.choices or ())) or action.dest
        value = " ".join(metavar) if isinstance(metavar, tuple) else str(metavar)
        if action.option_strings and action.nargs == 0:
            value = ""
        names = ", ".join(action.option_strings)
        yield ".TP"
        yield f'.B "{_text(" ".join(part for part in (names, value) if part))}"'
        yield _text(str(action.help))


def _others(program: str) -> list[str]:
    return [f".BR {_text(other)} (1)" for other in TITLES if other != program]


def _text(text: str) -> str:
    """Text that troff takes as it stands."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace('"', "\\(dq").replace("`", "\\(ga")
    text = text.replace("'", "\\(aq").replace("^", "\\(ha").replace("~", "\\(ti")
    return f"\\&{text}" if text.startswith(".") else text


def parsers() -> list[argparse.ArgumentParser]:
    return [command_parser(), daemon_parser(), mount_parser(), helper_parser()]


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for parser in parsers():
        (folder / f"{parser.prog}.1").write_text(page(parser), encoding="utf-8")
    sys.stdout.write(f"{folder}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
