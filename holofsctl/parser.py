# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands and their options. `--state-dir` and `--json` may stand before or after the command."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from typing import Any, Final

from holofs_api import VERSION
from holofs_api.settings import DAEMON_KEYS, add_options
from holofs_api.words import quoted
from holofsctl import (
    completion,
    config_parser,
    daemon_log,
    history_parser,
    safety_parser,
    traffic_parser,
    transfer_parser,
)
from holofsctl.commands import completion as completing
from holofsctl.commands import conflicts, device, fsck, info, installing, mounts, recovering, sharing, volumes, watching
from holofsctl.commands import diff as comparison
from holofsctl.commands import log as logs
from holofsctl.commands import version as versions
from holofsctl.commands import window as windows
from holofsctl.commands.history import time_told
from holofsctl.errors import CommandError
from holofsctl.exit_codes import EPILOG, Exit
from holofsctl.help_text import fitting, help_text
from holofsctl.mistakes import command_meant, did_you_mean
from holofsctl.numbers import number, seconds, time_limit
from holofsctl.output import print_text, safe

_SETTING: Final = "KEY"
"""How the name of a setting is shown in a usage."""
_PATHS: Final = ("path", "place", "folder", "to", "copy", "state_dir")
"""Arguments that name a file."""


class _Parser(argparse.ArgumentParser):
    """Complains with one sentence, as a CommandError."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        # argparse of before Python 3.14 takes -1d for an option; as a value, its type says what is wrong with it.
        self._negative_number_matcher = re.compile(r"-\.?\d")

    def format_help(self) -> str:
        """argparse does not break the words of a usage line."""
        return "\n".join(fitting(super().format_help().split("\n")))

    def error(self, message: str) -> Any:
        raise CommandError(f"{_sentence(message)} `{self.prog} --help` says more.", Exit.USAGE, "bad-argument")

    def _print_message(self, message: str, file: Any = None) -> None:
        """argparse's own drops the error of a disk that is full."""
        print_text(message)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """argparse's own sentence lists every command that there is."""
        if action.choices is None or value in action.choices:
            return
        choices = [str(choice) for choice in action.choices]
        if isinstance(action, argparse._SubParsersAction):
            what = "command" if action.dest == "command" else f"`{self.prog}` command"
            self.error(f"There is no {what} `{safe(value)}`.{command_meant(value, choices)}")
        if action.metavar == _SETTING:
            told = f"There is no setting {quoted(value)}.{did_you_mean(value, choices)}"
            self.error(f"{told} `holofsctl config list` shows all.")
        if action.metavar and "|" in action.metavar:  # those that a person is to know of
            choices = str(action.metavar).split("|")
            self.error(f"`{self.prog}` takes {', '.join(choices)}, not {quoted(value)}.{did_you_mean(value, choices)}")
        name = "/".join(action.option_strings) or str(action.metavar or action.dest)
        self.error(f"{name} takes {', '.join(choices)}, not {quoted(value)}.{did_you_mean(value, choices)}")


def _sentence(message: str) -> str:
    """argparse's complaint in our style: it begins with a capital letter and ends with a full stop."""
    message = re.sub(r"^argument ([^:]+): ", lambda found: f"{found[1]}: ", safe(message))
    missing = re.fullmatch(r"the following arguments are required: (.*)", message)
    if missing:
        message = f"Missing: {missing[1].replace(', ', ' and ')}"
    begin = message[:1].upper() + message[1:] if not message.startswith("--") else message
    return begin if begin.endswith((".", "?")) else f"{begin}."


class _GroupedHelp(_Parser):
    def format_help(self) -> str:
        return help_text()


def wants_json(words: Sequence[str]) -> bool:
    """Returns whether a complaint about these words is to be JSON, before they are understood."""
    return "--json" in words[: words.index("--")] if "--" in words else "--json" in words


def parse(words: Sequence[str]) -> argparse.Namespace | Exit:
    """The arguments, with the command as `run`; an exit code where there is nothing left to do (`--help`).

    Raises CommandError (exit code 2) for what makes no sense.
    """
    top = build()
    try:
        arguments, unknown = top.parse_known_args(words)
        if arguments.command == "help" and not unknown:  # as of git, apt and others
            _check_text(words, arguments)
            arguments, unknown = top.parse_known_args([*arguments.words, "--help"])
    except SystemExit as end:
        return Exit.USAGE if end.code else Exit.OK
    if arguments.command is None and not unknown:
        top.print_help()
        return Exit.USAGE
    if unknown:
        _refuse(top, arguments.command, unknown)
    _check_text(words, arguments)
    return arguments


def _refuse(top: argparse.ArgumentParser, command: str | None, unknown: Sequence[str]) -> None:
    parser = completion.commands_of(top)[command] if command else top
    options = [option for action in parser._actions for option in action.option_strings]
    option = next((word for word in unknown if word.startswith("-")), "")
    told = safe(option.partition("=")[0])
    if option:
        sentence = f"`{command or 'holofsctl'}` has no option {told}.{did_you_mean(told, options)}"
    else:
        sentence = f"`{command}` takes no further argument: '{safe(unknown[0])}' is one too many."
    raise CommandError(f"{sentence} `{parser.prog} --help` says more.", Exit.USAGE, "bad-argument")


def _check_text(words: Sequence[str], arguments: argparse.Namespace) -> None:
    """No argument is empty, and what is no path is text, for that is how it is sent. Paths may have any bytes."""
    may_be_empty = getattr(arguments, "state_dir", None) == ""  # it has a sentence of its own
    if sum(not word or (word.startswith("--") and word.endswith("=")) for word in words) > may_be_empty:
        sentence = f"An argument of `{arguments.command}` is empty; is it a variable that is not set?"
        raise CommandError(sentence, Exit.USAGE, "bad-argument")
    for name, value in vars(arguments).items():
        for text in value if isinstance(value, list) else (value,):
            if not isinstance(text, str) or name in _PATHS:
                continue
            if any("\ud800" <= character <= "\udfff" for character in text):
                sentence = f"'{safe(text)}' is not UTF-8: a name, a ticket or a word is text."
                raise CommandError(sentence, Exit.USAGE, "bad-argument")


def _common() -> _Parser:
    # SUPPRESS: an option that was given before the command is not overwritten by the command's default.
    common = _Parser(add_help=False)
    common.add_argument("--state-dir", default=argparse.SUPPRESS, metavar="DIR", help="the device's state directory")
    common.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print data as JSON")
    return common


def build() -> argparse.ArgumentParser:
    """The parser; the parsed arguments carry the command as `run`."""
    common = _common()
    top = _GroupedHelp(prog="holofsctl", parents=[common])
    top.add_argument("--version", action="version", version=f"holofsctl {VERSION}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser)

    def command(name: str, run: Callable[..., Any], text: str) -> argparse.ArgumentParser:
        made: argparse.ArgumentParser = commands.add_parser(
            name, parents=[common], description=text, help=text, epilog=EPILOG
        )
        made.set_defaults(run=run)
        return made

    _device(command)
    config_parser.add(command, _common)
    traffic_parser.add(command)
    _volumes(command)
    transfer_parser.add(command)
    _conflicts(command)
    history_parser.add(command)
    safety_parser.add(command)
    _sharing(command)
    return top


def _device(command: Callable[..., argparse.ArgumentParser]) -> None:
    help_of = command("help", lambda session, arguments: None, "Shows the help of a command, as --help does.")
    help_of.add_argument("words", nargs="*", metavar="COMMAND")
    up = command("up", device.up, "Starts the daemon unless it runs, and brings remembered mounts back.")
    add_options(up, DAEMON_KEYS)
    command("down", device.down, "Unmounts everything, stops the daemon and waits for its end.")
    text = "Starts the device at login, by a systemd user unit or an XDG autostart entry, and now."
    installed = command("install", installing.install, text)
    installed.add_argument("--linger", action="store_true", help="start it with the machine, before any login")
    installed.add_argument("--dry-run", action="store_true", help="only show the file and what would be run")
    text = "Takes back what `holofsctl install` did; the state directory stays."
    uninstalled = command("uninstall", installing.uninstall, text)
    uninstalled.add_argument("--dry-run", action="store_true", help="only show what would be removed")
    status = command("status", device.status, "Whether everything written here is safe on another device.")
    status.add_argument("name", nargs="?", default="", metavar="NAME")
    status.add_argument("--watch", action="store_true", help="go on showing it, until Ctrl-C")
    own = command("device", device.device_name, "What this device is called; another key for a copy of it.")
    actions = own.add_subparsers(dest="action", metavar="name|new-key", required=True, parser_class=_Parser)
    text = "Shows what this device is called, or calls it otherwise, on every device."
    named = actions.add_parser("name", parents=[_common()], description=text, help=text, epilog=EPILOG)
    named.add_argument("new", nargs="?", metavar="NEW", help="what to call it from now on")
    text = "Makes another device of a state directory that was copied. The daemon must not run."
    renewed = actions.add_parser("new-key", parents=[_common()], description=text, help=text, epilog=EPILOG)
    renewed.set_defaults(run=device.new_key)
    text = "The versions of this program, of the daemon and of the mounts. Also without the daemon."
    command("version", versions.version, text)
    shell = command("completion", completing.completion, "Prints a script with which a shell completes commands.")
    what = (*completion.SHELLS, *completion.QUESTIONS)
    shell.add_argument("what", choices=what, metavar="|".join(completion.SHELLS))
    shell.set_defaults(parser=build)
    shell.add_argument("line", nargs="?", default="", metavar="LINE", help=argparse.SUPPRESS)
    command("peers", device.peers, "The other devices, and how they are reached.")
    ping = command("ping", watching.ping, "Asks another device for a sign of life: path, round trip, throughput.")
    ping.add_argument("device", metavar="DEVICE")
    ping.add_argument("-c", "--count", type=number(1), default=3, metavar="N", help="how often (3)")
    ping.add_argument("--no-measure", action="store_true", help="fetch no content to measure throughput")
    events = command("events", watching.events, "What happens, as it happens, until Ctrl-C.")
    events.add_argument("--since", default="", metavar="TOKEN", help="go on after the event with this token")
    events.add_argument("--no-wait", action="store_true", help="end with the last event that has happened")
    window = command("ui", windows.ui, "Opens the window of this device in a browser; its link is printed first.")
    window.add_argument("--no-open", action="store_true", help="only print the link")
    command("doctor", device.doctor, "Looks for what could be in the way.")
    log = command("log", logs.log, "The daemon's log, for people. Also without the daemon.")
    log.add_argument("name", nargs="?", default="", metavar="NAME", help="only what names this volume")
    log.add_argument("-f", "--follow", action="store_true", help="go on with what is added, until Ctrl-C")
    log.add_argument(
        "-n", "--lines", type=number(0), metavar="N", help=f"the last N lines ({logs.DEFAULT_LINES}; with --since all)"
    )
    log.add_argument("--level", choices=daemon_log.LEVELS, default="", help="the least that is shown")
    log.add_argument("--since", type=time_told, metavar="TIME", help="only what was logged since, for example 2h")
    check = command(
        "fsck", fsck.fsck, "Checks what is on disk: index, records, names, content. Also without the daemon."
    )
    check.add_argument("name", nargs="?", default="", metavar="NAME", help="one volume; without it all")
    check.add_argument("--repair", action="store_true", help="repair what has one right answer; the rest is listed")
    check.add_argument("--content", action="store_true", help="read and hash every content file, too")
    check.add_argument(
        "--from-backup",
        action="store_true",
        help="take the index from its backup, with all that can still be read of the present one",
    )


def _volumes(command: Callable[..., argparse.ArgumentParser]) -> None:
    command("create", volumes.create, "Makes a new volume.").add_argument("name", metavar="NAME")
    command("list", volumes.list_volumes, "The volumes of this device.")
    leave = command(
        "leave", volumes.leave, "Stops holding a volume; its files are kept aside unless --delete is given."
    )
    leave.add_argument("name", metavar="NAME")
    leave.add_argument("--delete", action="store_true", help="delete this device's copy")
    mount = command("mount", mounts.mount, "Shows a volume as a folder; returns when the folder answers.")
    mount.add_argument("name", metavar="NAME")
    mount.add_argument("path", metavar="PATH")
    mount.add_argument("--read-only", action="store_true", help="let nothing be changed there")
    others = mount.add_mutually_exclusive_group()
    others.add_argument("--allow-other", action="store_true", help="let other users in, as far as file modes let them")
    others.add_argument("--allow-root", action="store_true", help="let root in, and no other user")
    mount.add_argument("--at", type=time_told, metavar="TIME", help="as it was then, read-only")
    mount.add_argument("--binding", choices=("pyfuse3", "fusepy"), default="", help="the FUSE binding to use")
    unmount = command("unmount", mounts.unmount, "Takes a mounted folder away, unless a program still uses it.")
    unmount.add_argument("path", metavar="PATH")
    unmount.add_argument(
        "--force", action="store_true", help="though it is in use: the name is free at once, open files go on"
    )
    told = command("info", info.info, "What HoloFS knows of a file: state, writer, hash, and the rule that ignores it.")
    told.add_argument("place", metavar="PATH")
    text = "What a .holofsignore keeps on this device, and by which line."
    command("ignored", volumes.ignored, text).add_argument("name", metavar="NAME")
    wait = command("wait", volumes.wait, "Waits until other devices hold everything that was written here.")
    wait.add_argument("name", metavar="NAME")
    wait.add_argument("--copies", type=number(1), default=1, metavar="N", help="on how many other devices (1)")
    wait.add_argument("--timeout", type=time_limit, default=0, metavar="T", help="give up after, for example 30s")


def _conflicts(command: Callable[..., argparse.ArgumentParser]) -> None:
    listed = command("conflicts", conflicts.conflicts, "Files that were changed in two places at once.")
    listed.add_argument("place", nargs="?", default="", metavar="NAME|PATH")
    diff = command("diff", comparison.diff, "What differs between the contents of a conflict, as a unified diff.")
    diff.add_argument("place", metavar="PATH", help="the file, or one of its copies; NAME:PATH without a mount")
    diff.add_argument("copy", nargs="?", default="", metavar="COPY", help="which copy, or whose: else all of them")
    resolve = command("resolve", conflicts.resolve, "Settles a conflict, everywhere. Without --keep it asks.")
    resolve.add_argument("place", nargs="?", default="", metavar="PATH", help="with --all also a folder, or NAME")
    resolve.add_argument("--all", action="store_true", help="every conflict there, or of all volumes")
    resolve.add_argument("--keep", metavar="shown|copy|both|newest|DEVICE", help="which content stays")


def _sharing(command: Callable[..., argparse.ArgumentParser]) -> None:
    share = command("share", sharing.share, "Prints an invite: a ticket that `join` redeems on another device.")
    share.add_argument("name", nargs="?", default="", metavar="NAME")
    share.add_argument("--list", action="store_true", help="show the invites made here that can still be redeemed")
    share.add_argument("--revoke", nargs=2, metavar=("NAME", "INVITE"), help="make one worth nothing, or `all` of them")
    roles = share.add_mutually_exclusive_group()
    roles.add_argument("--read-only", action="store_true", help="invite a reader")
    roles.add_argument("--admin", action="store_true", help="invite somebody who may invite and remove others")
    share.add_argument("--uses", type=number(0), default=1, metavar="N", help="how often (1); 0: without limit")
    share.add_argument("--expires", type=seconds, default=86400, metavar="T", help="after, for example 24h; or never")
    share.add_argument("--reuse", action="store_true", help="one that was made before, if it is still good")
    share.add_argument("--qr", action="store_true", help="also draw it, on standard error")
    join = command("join", sharing.join, "Redeems a ticket.")
    join.add_argument("ticket", metavar="TICKET|-", help="- reads it from standard input")
    join.add_argument("--name", default="", metavar="NAME", help="what to call the volume here")
    join.add_argument("--no-wait", action="store_true", help="go on in the background")
    members = command("members", sharing.members, "Who has the volume; `role` and `remove` change it.")
    members.add_argument("name", metavar="NAME")
    members.add_argument("change", nargs="*", metavar="role DEVICE reader|writer|admin | remove DEVICE")
    members.add_argument("--keep-invites", action="store_true", help="with remove: invites that it redeemed stay good")
    members.add_argument("--undo", action="store_true", help="with remove: also undo what it did as an admin")
    recovery = command("recovery", recovering.recovery, "Prints the code that makes any device an admin of the volume.")
    recovery.add_argument("name", metavar="NAME")
    recovery.add_argument("--forget", action="store_true", help="and keep it on this device no longer")
    recover = command("recover", recovering.recover, "Makes this device an admin of a volume by its recovery code.")
    recover.add_argument("code", metavar="CODE|-", help="- reads it from standard input")
    recover.add_argument(
        "--name", default="", metavar="NAME", help="what to call the volume here, if it is not here yet"
    )
    recover.add_argument(
        "--from",
        dest="sources",
        action="append",
        default=[],
        metavar="DEVICE[@ADDRESS]",
        help="a device that holds the volume, if this one does not; may be given several times",
    )
