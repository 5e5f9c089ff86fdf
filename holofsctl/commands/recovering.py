# SPDX-License-Identifier: GPL-3.0-or-later
"""recovery, recover."""

from __future__ import annotations

import argparse

from holofs_api.v1 import control_pb2 as pb
from holofsctl.commands.sharing import read_secret
from holofsctl.output import plain, safe
from holofsctl.session import CommandSession

_WARNING = (
    "Whoever has this code can become an admin of the volume, for ever. "
    "Write it down, and keep it away from the devices."
)

_BETTER = "Next time give it on standard input: `holofsctl recover -`."


def recovery(session: CommandSession, arguments: argparse.Namespace) -> None:
    reply = session.call("Recovery", pb.RecoveryRequest(volume=arguments.name, forget=arguments.forget))
    session.output.data(plain(reply), [reply.code], exact=True)
    session.output.remark(_WARNING)
    if arguments.forget:
        session.output.remark("This device does not keep it any longer.")


def recover(session: CommandSession, arguments: argparse.Namespace) -> None:
    code = read_secret(session, arguments.code, "recovery code", _BETTER)
    request = pb.RecoverRequest(code=code, name=arguments.name, sources=arguments.sources)
    volume = session.call("Recover", request)
    session.output.data(plain(volume), [safe(volume.name)])
    session.output.remark(f"This device is an admin of {safe(volume.name)} now.")
