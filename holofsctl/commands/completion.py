# SPDX-License-Identifier: GPL-3.0-or-later
"""Command `completion`: a script for a shell, and the words that such a script asks for.

A shell waits while it completes. So words are there within half a second or not at all, and nothing is said about why.
"""

from __future__ import annotations

import argparse
import importlib
import os
import shlex
import threading
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

from holofs_api.paths import state_dir
from holofs_api.setting_kinds import OneOf
from holofs_api.settings import BY_KEY
from holofs_api.state_directory import StateDirError
from holofs_api.v1 import control_pb2 as pb
from holofsctl import completion as scripts
from holofsctl.client import Client
from holofsctl.errors import CommandError
from holofsctl.exit_codes import Exit
from holofsctl.output import print_text, safe
from holofsctl.session import CommandSession

WAIT_S: Final = 0.5
_MEMBERS: Final = ("role", "remove")
_ROLES: Final = ("reader", "writer", "admin")
_KEPT: Final = ("shown", "copy", "both", "newest")


def completion(session: CommandSession, arguments: argparse.Namespace) -> None:
    parser: argparse.ArgumentParser = arguments.parser()
    if arguments.what in scripts.SHELLS:
        print_text(scripts.script(parser, arguments.what) + "\n")
        return
    words: Sequence[str]
    if arguments.what == "commands":
        words = [*scripts.commands_of(parser)]
    elif arguments.what == "values":
        words = _values(_split(arguments.line))
    else:
        words = _asked(session, arguments.what, _split(arguments.line))
    # What a terminal would not show as it is, nobody can want to have typed.
    print_text("".join(f"{word}\n" for word in dict.fromkeys(words) if word and safe(word) == word))


def _values(line: Sequence[str]) -> list[str]:
    """Words that the setting in this line can be, if they are few."""
    kinds = [BY_KEY[word].kind for word in line if word in BY_KEY]
    return [*kinds[0].words] if kinds and isinstance(kinds[0], OneOf) else []


def _split(line: str) -> list[str]:
    """Words of a command line that is not written to its end; where a quote is open, as they stand."""
    try:
        return shlex.split(line)
    except ValueError:
        return line.split()


def _asked(session: CommandSession, what: str, line: Sequence[str]) -> Sequence[str]:
    importlib.import_module("grpc")  # takes its time, and nobody's daemon is to blame for that
    limit = threading.Timer(WAIT_S, os._exit, (int(Exit.OK),))
    limit.daemon = True
    limit.start()
    try:
        with Client(_state(session.state, line)) as client:
            return _words(client, what, line)
    except (CommandError, StateDirError, OSError):
        return []
    finally:
        limit.cancel()


def _state(state: Path, line: Sequence[str]) -> Path:
    """The state directory that the line names, else that of this command."""
    for place, word in enumerate(line):
        if word == "--state-dir":
            told = [other for other in line[place + 1 : place + 3] if other != "="]
            return state_dir(os.path.expanduser(told[0])) if told else state
        if word.startswith("--state-dir="):
            return state_dir(os.path.expanduser(word.partition("=")[2]))
    return state


def _members_words(line: Sequence[str], volume: str, devices: Sequence[str]) -> Sequence[str]:
    """Words that can come next in `members NAME role ...` or `members role NAME ...`; some shells add the one begun."""
    after = line[line.index("members") + 1 :] if "members" in line else ()
    said = [word for before, word in pairwise(("", *after)) if word[:1] != "-" and before != "--state-dir"]
    if volume in said:
        said.remove(volume)
    if not said or said[0] not in _MEMBERS:
        return _MEMBERS
    if len(said) == 1 or said[1] not in devices:
        return devices
    return _ROLES if said[0] == "role" else ()


def _words(client: Client, what: str, line: Sequence[str]) -> Sequence[str]:
    volumes = [volume.name for volume in client.call("ListVolumes", pb.ListVolumesRequest(), WAIT_S).volumes]
    told = next((word for word in line[2:] if word in volumes), "")
    if what == "volumes":
        return volumes
    if what == "members" and not told:
        return [*volumes, *_MEMBERS]
    if told:
        members = client.call("Members", pb.MembersRequest(volume=told), WAIT_S).members
        devices = [member.name for member in members if not member.removed]
    else:
        devices = [peer.name for peer in client.call("Peers", pb.PeersRequest(), WAIT_S).peers]
    if what == "members":
        return _members_words(line, told, devices)
    return [*_KEPT, *devices] if what == "keep" else devices
