# SPDX-License-Identifier: GPL-3.0-or-later
"""Tickets: an invite as one line of text, `holofs1` + lowercase base32 of the Invite and 4 bytes of checksum.

A ticket is a secret: neither it nor a part of it ever appears in a message or a representation.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from typing import Final

from blake3 import blake3
from google.protobuf.message import DecodeError

from holofs_peer.v1 import peer_pb2 as pb
from holofsd.codec.checks import KEY, at_most, sized
from holofsd.codec.records import MAX_ADDRESSES, MAX_TEXT
from holofsd.core.document import Role
from holofsd.core.errors import Refused, TicketInvalid
from holofsd.core.ids import DeviceId, VolumeId

PREFIX: Final = "holofs1"
SECRET: Final = 16
MAX_TICKET: Final = 16384
_CHECKSUM: Final = 4
_MISTYPED: Final = "The ticket is cut or has a mistyped character; copy it again as a whole, from 'holofs1' to its end."


@dataclass(frozen=True, slots=True)
class Invite:
    """Content of a ticket: where to redeem it, and for what."""

    volume: VolumeId
    secret: bytes = field(repr=False)
    role: Role
    issuer: DeviceId
    addresses: tuple[str, ...] = ()
    relay_url: str = ""
    volume_name: str = ""


def encode_ticket(invite: Invite) -> str:
    message = pb.Invite(
        volume=invite.volume,
        secret=invite.secret,
        role=pb.Role.ValueType(int(invite.role)),
        issuer=invite.issuer,
        addresses=invite.addresses,
        relay_url=invite.relay_url,
        volume_name=invite.volume_name,
    )
    data = message.SerializeToString(deterministic=True)
    return PREFIX + base64.b32encode(data + _checksum(data)).decode().rstrip("=").lower()


def decode_ticket(text: str) -> Invite:
    """Raises TicketInvalid with a sentence that helps. White space and case do not matter."""
    compact = "".join(text.split()).lower()
    if not compact:
        raise TicketInvalid("The ticket is empty; a ticket begins with 'holofs1'.")
    if not compact.startswith(PREFIX):
        raise TicketInvalid(f"This is not a HoloFS ticket; a ticket begins with 'holofs1'.{_code_hint(compact)}")
    if len(compact) > MAX_TICKET:
        raise TicketInvalid("This is too long for a ticket; copy it again as a whole, from 'holofs1' to its end.")
    return _decode_invite(_decode_data(compact[len(PREFIX) :]))


def _code_hint(compact: str) -> str:
    return (
        " This is a recovery code, which `holofsctl recover -` reads." if compact.startswith("holofs-recovery-") else ""
    )


def _checksum(data: bytes) -> bytes:
    return blake3(b"holofs-ticket-1" + data).digest(_CHECKSUM)


def _decode_data(digits: str) -> bytes:
    try:
        raw = base64.b32decode(digits.upper().encode("ascii") + b"=" * (-len(digits) % 8))
    except (binascii.Error, UnicodeEncodeError) as error:
        raise TicketInvalid(_MISTYPED) from error
    data, checksum = raw[:-_CHECKSUM], raw[-_CHECKSUM:]
    # Base32 ignores the last bits of an incomplete group: only the text that these bytes encode to counts.
    if _checksum(data) != checksum or base64.b32encode(raw).decode().rstrip("=").lower() != digits:
        raise TicketInvalid(_MISTYPED)
    return data


def _decode_invite(data: bytes) -> Invite:
    message = pb.Invite()
    try:
        message.ParseFromString(data)
        at_most(message.addresses, MAX_ADDRESSES, "addresses")
        for text in (message.relay_url, message.volume_name, *message.addresses):
            at_most(text, MAX_TEXT, "characters")
        return Invite(
            VolumeId(sized(message.volume, KEY, "volume id")),
            sized(message.secret, SECRET, "secret"),
            Role(message.role),
            DeviceId(sized(message.issuer, KEY, "node key")),
            tuple(message.addresses),
            message.relay_url,
            message.volume_name,
        )
    except (DecodeError, ValueError, Refused) as error:
        raise TicketInvalid(
            "The ticket was made by a program that this one does not understand: upgrade this one."
        ) from error
