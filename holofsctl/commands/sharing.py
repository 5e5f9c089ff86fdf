# SPDX-License-Identifier: GPL-3.0-or-later
"""share, join, members: who has a volume, and who may come to it."""

from __future__ import annotations

import argparse
import io
import sys
import time
from typing import Any, Final

from holofs_api.shell import shell_word
from holofs_api.v1 import control_pb2 as pb
from holofs_api.words import count
from holofsctl import terminal
from holofsctl.commands.volumes import role_name
from holofsctl.errors import CommandError
from holofsctl.exit_codes import Exit
from holofsctl.output import duration, moment, plain, safe, table
from holofsctl.session import CommandSession
from holofsctl.terminal import width_of

ROLES: Final = {"reader": pb.ROLE_READER, "writer": pb.ROLE_WRITER, "admin": pb.ROLE_ADMIN}
_KEEPS: Final = (
    "The other devices close on it as they hear of this, send it nothing more and ignore what it writes from now on.\n"
    "What it has, it can keep: its copy, and everything it could read until now. That cannot be taken back."
)
_JOIN_BETTER: Final = "Next time give it on standard input: `holofsctl join -`."
_MAX_TICKET: Final = 16384
"""Characters read from standard input; a real ticket has a few hundred."""


def share(session: CommandSession, arguments: argparse.Namespace) -> None:
    if arguments.revoke:
        _revoke(session, *arguments.revoke)
    elif not arguments.name:
        raise CommandError(
            "Say which volume: `holofsctl share NAME`, `holofsctl share --list NAME`.", Exit.USAGE, "bad-argument"
        )
    elif arguments.list:
        _list_invites(session, arguments.name)
    else:
        _make_invite(session, arguments)


def _list_invites(session: CommandSession, volume: str) -> None:
    invites = session.call("Invites", pb.InvitesRequest(volume=volume)).invites
    session.output.data([plain(invite) for invite in invites], table([_invite_row(invite) for invite in invites]))
    session.output.remark(f"{count(len(invites), 'invite')} made by this device can still be redeemed.")


def _invite_row(invite: pb.Invite) -> tuple[str, ...]:
    uses = (
        "any number of times"
        if not invite.uses_left
        else "once"
        if invite.uses_left == 1
        else f"{invite.uses_left:,} times"
    )
    ends = f"until {moment(invite.expires_at_ms)}" if invite.expires_at_ms else "for ever"
    return (invite.id, role_name(invite.role), uses, ends, f"made {moment(invite.made_at_ms)}")


def _revoke(session: CommandSession, volume: str, invite: str) -> None:
    revoked = session.call("RevokeInvite", pb.RevokeInviteRequest(volume=volume, invite=invite)).revoked
    session.output.data([plain(invite) for invite in revoked], [invite.id for invite in revoked])
    told = f"Revoked {count(len(revoked), 'invite')}. Whoever redeemed one before is a member still"
    session.output.remark(f"{told}: `holofsctl members {shell_word(volume)}` shows who.")


def _make_invite(session: CommandSession, arguments: argparse.Namespace) -> None:
    role = pb.ROLE_READER if arguments.read_only else pb.ROLE_ADMIN if arguments.admin else pb.ROLE_WRITER
    request = pb.ShareRequest(
        volume=arguments.name,
        role=role,
        uses=arguments.uses,
        expires_seconds=arguments.expires,
        reuse=arguments.reuse,
    )
    reply = session.call("Share", request)
    session.output.data(plain(reply), [reply.ticket], exact=True)
    uses = "any number of times" if not reply.uses else "once" if reply.uses == 1 else f"{reply.uses:,} times"
    left = int(reply.expires_at_ms / 1000 - time.time()) if arguments.reuse else arguments.expires
    ends = f"for {duration(left)}" if reply.expires_at_ms else "for ever"
    session.output.remark(f"A {role_name(reply.role)}'s invite, good {uses}, {ends}. Whoever has it can join.")
    if arguments.qr:
        session.output.remark(_qr(reply.ticket), exact=True)


def _qr(ticket: str) -> str:
    """The ticket as a drawing, or a sentence where the terminal cannot show one."""
    import qrcode  # only here: no other command needs it, and it costs 40 ms

    drawing = io.StringIO()
    # Upper case: a QR code stores such text a third smaller, and tickets do not tell case apart.
    code = qrcode.QRCode(border=2)
    code.add_data(ticket.upper())
    code.print_ascii(out=drawing, invert=True)
    drawn = drawing.getvalue().replace("\xa0", " ")
    needed, width = max(map(len, drawn.splitlines())), width_of(sys.stderr)
    if width and width < needed:
        return f"The drawing needs {needed} columns, and this terminal has {width}."
    try:
        drawn.encode(getattr(sys.stderr, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return f"The ticket cannot be drawn in this terminal's encoding, {sys.stderr.encoding}."
    return drawn


def read_secret(session: CommandSession, given: str, what: str, better: str) -> str:
    """A ticket or a recovery code as it was given; `-`: from standard input. One that stands in the command line is
    taken, with a warning that says what is `better`."""
    if given != "-":
        session.output.remark(
            f"The {what} stood in the command line, where other users of this machine can see it and the shell keeps it"
            f" in its history. {better}"
        )
        return given.strip()
    if sys.stdin is not None and sys.stdin.isatty():
        secret = terminal.ask(f"Paste the {what} and press Enter: ").strip()
    else:
        secret = terminal.read_line(_MAX_TICKET).strip()
    if not secret:
        raise CommandError(f"There was no {what} on standard input.", Exit.USAGE, "bad-argument")
    return secret


def join(session: CommandSession, arguments: argparse.Namespace) -> Exit:
    request = pb.JoinRequest(
        ticket=read_secret(session, arguments.ticket, "ticket", _JOIN_BETTER),
        name=arguments.name,
        no_wait=arguments.no_wait,
    )
    with session.connect() as client:
        try:
            last = _follow(session, client.stream("Join", request))
        except KeyboardInterrupt:
            session.output.remark("\nJoining goes on in the background; `holofsctl status` shows how far it is.")
            return Exit.INTERRUPTED
    if last is None or not last.HasField("volume"):
        raise CommandError("holofsd ended the join without saying why; see log/holofsd.log in its state directory.")
    session.output.data({"stage": last.stage, **plain(last.volume)}, [safe(last.volume.name)])
    return Exit.OK


def _follow(session: CommandSession, steps: Any) -> Any:
    last, told = None, ""
    for last in steps:
        if last.message and last.message != told:
            told = last.message
            session.output.remark(safe(told))
    return last


def members(session: CommandSession, arguments: argparse.Namespace) -> None:
    name, change = arguments.name, arguments.change
    if name in ("remove", "role") and change and change[0] not in ("remove", "role"):
        name, change = change[0], [name, *change[1:]]  # `members remove NAME DEVICE` says the same
    if (arguments.keep_invites or arguments.undo) and change[:1] != ["remove"]:
        raise CommandError(
            "--keep-invites and --undo go with `holofsctl members remove NAME DEVICE`.", Exit.USAGE, "bad-argument"
        )
    if not change:
        _list_members(session, name)
    elif change[0] == "remove" and len(change) == 2:
        keep, undo = arguments.keep_invites, arguments.undo
        request = pb.SetMemberRequest(volume=name, device=change[1], remove=True, keep_invites=keep, undo=undo)
        _set_member(session, request)
    elif change[0] == "role" and len(change) == 3 and change[2] in ROLES:
        _set_member(session, pb.SetMemberRequest(volume=name, device=change[1], role=ROLES[change[2]]))
    else:
        raise CommandError(
            "Say `holofsctl members NAME`, `holofsctl members role NAME DEVICE writer` (or reader, or admin) or"
            " `holofsctl members remove NAME DEVICE`.",
            Exit.USAGE,
            "bad-argument",
        )


def _set_member(session: CommandSession, request: pb.SetMemberRequest) -> None:
    member = session.call("SetMember", request)
    session.output.data(plain(member), [])
    became = "is no member any more" if member.removed else f"is {role_name(member.role)} now"
    session.output.remark(f"{safe(member.name or member.device_id[:16])} {became}.")
    if member.revoked:
        ids = ", ".join(invite.id for invite in member.revoked)
        what = "an invite that it had redeemed" if len(member.revoked) == 1 else "invites that it had redeemed"
        session.output.remark(f"Revoked {what}, so that it does not come back with the ticket: {ids}.")
    if member.removed:
        session.output.remark(_KEEPS)


def _list_members(session: CommandSession, volume: str) -> None:
    found = session.call("Members", pb.MembersRequest(volume=volume)).members
    rows = [(m.name or "-", _standing(m), role_name(m.role), m.device_id) for m in found]
    session.output.data([plain(member) for member in found], table(rows))
    session.output.remark(count(sum(not m.removed for m in found), "member") + ".")


def _standing(member: pb.Member) -> str:
    if member.removed:
        return "removed"
    if member.is_self:
        return "this device"
    if member.left:
        return "left"
    return "connected" if member.connected else "not connected"
