# SPDX-License-Identifier: GPL-3.0-or-later
"""Invites: making, listing and revoking them, and both sides of redeeming one (ALPN `holofs-join/1`).

An invite's secret is worth a membership until it is used: it is never logged and never part of an error.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import structlog
from blake3 import blake3
from google.protobuf.message import DecodeError

from holofs_api.shell import shell_word
from holofs_peer.v1 import peer_pb2 as pb
from holofsd.codec import wire
from holofsd.codec.ticket import Invite, encode_ticket
from holofsd.core import members as rules
from holofsd.core.document import Credentials, Role
from holofsd.core.errors import (
    BadArgument,
    ConnectionLost,
    HoloError,
    InviteUnknown,
    NotAMember,
    Refused,
    RoleTooLow,
    TicketRefused,
)
from holofsd.core.ids import DeviceId, VolumeId
from holofsd.core.text import device_name, one_line
from holofsd.net.api import JOIN_ALPN, CloseCode, Connection, Endpoint, Stream
from holofsd.net.strangers import source_of
from holofsd.store import faults
from holofsd.store.device import DeviceStore, InviteRow
from holofsd.sync.config import MAX_NAME, MAX_REDEEM, PROTOCOL
from holofsd.sync.members import Members
from holofsd.sync.signers import verify_all

log = structlog.get_logger(__name__)

DAY_MS = 24 * 3600 * 1000
ANSWER_TIMEOUT = 10.0
QUESTION_TIMEOUT = 5.0
"""A device that comes with a ticket has this long to say so."""
ATTEMPTS = 10
ATTEMPTS_WINDOW = 60.0
MAX_ADDRESSES_WATCHED = 4096
REUSED_MS = 10 * 60 * 1000
"""An invite that is good for less than this is not given a second time."""
ID_DIGITS = 12
MIN_ID = 4

REFUSALS = {
    "unknown": "The device that issued this ticket does not know it: ask for a new one.",
    "expired": "The ticket has expired: ask for a new one.",
    "used": "The ticket was used already: ask for a new one.",
    "revoked": "The ticket was revoked: ask for a new one.",
    "slow-down": "Too many attempts: wait a minute and try again.",
}
PASSING_REFUSALS = frozenset(("slow-down",))


@dataclass(frozen=True, slots=True)
class IssuedInvite:
    """An invite as its maker sees it: the ticket, and how long and how often it can be redeemed."""

    ticket: str = field(repr=False)
    role: Role
    uses: int
    """0: no limit."""
    expires_at_ms: int
    """0: never."""


@dataclass(frozen=True, slots=True)
class RedeemResult:
    """Answer of the issuer to a ticket that it accepted."""

    volume: VolumeId
    credentials: Credentials
    volume_name: str


def invite_id(row: InviteRow) -> str:
    """Names an invite for people; its secret cannot be had from it."""
    return blake3(b"holofs-invite-id-1" + row.secret).hexdigest()[:ID_DIGITS]


class SlowDown:
    """Counts failed attempts by where they come from; forgets them after a minute."""

    def __init__(self) -> None:
        self._failures: dict[str, list[float]] = {}

    def blocked(self, address: str, now: float) -> bool:
        recent = [at for at in self._failures.get(address, []) if now - at < ATTEMPTS_WINDOW]
        if recent:
            self._failures[address] = recent
        else:
            self._failures.pop(address, None)
        return len(recent) >= ATTEMPTS

    def failed(self, address: str, now: float) -> None:
        if len(self._failures) >= MAX_ADDRESSES_WATCHED:
            self._failures.pop(next(iter(self._failures)))
        self._failures.setdefault(address, []).append(now)


class Inviter:
    """The issuing side. `members_of` gives the members of a volume that this device holds, None for any other."""

    def __init__(
        self,
        devices: DeviceStore,
        members_of: Callable[[VolumeId], Members | None],
        now_ms: Callable[[], int],
    ) -> None:
        self._devices = devices
        self._members_of = members_of
        self._now_ms = now_ms
        self._slow_down = SlowDown()
        self.on_heard: Callable[[Connection], None] = lambda connection: None
        """Told of a device that comes with a ticket, and says so."""

    # ---- for the owner
    def make(
        self,
        volume: VolumeId,
        role: Role,
        volume_name: str,
        addresses: list[str],
        relay_url: str = "",
        uses: int = 1,
        expires_seconds: int = 24 * 3600,
        reuse: bool = False,
    ) -> IssuedInvite:
        """`uses` 0: no limit; `expires_seconds` 0: never. `reuse`: the invite made before for this role and number of
        uses, if one stays good for a while. Raises RoleTooLow, NotAMember.
        """
        members = self._admin_of(volume)
        now = self._now_ms()
        expires = now + expires_seconds * 1000 if expires_seconds else 0
        row = self._still_good(volume, role, uses or -1) if reuse else None
        if row is None:
            row = InviteRow(secrets.token_bytes(16), volume, int(role), uses or -1, expires, now, 0)
            with self._devices.db.transaction():
                self._devices.put_invite(row)
        invite = Invite(
            volume, row.secret, role, members.device, tuple(addresses[:16]), relay_url, volume_name[:MAX_NAME]
        )
        return IssuedInvite(encode_ticket(invite), role, uses, row.expires_ms)

    def _still_good(self, volume: VolumeId, role: Role, uses_left: int) -> InviteRow | None:
        """The invite of this kind that is good for longest, if somebody has the time to redeem it."""
        least = self._now_ms() + REUSED_MS
        rows = [row for row in self.outstanding(volume) if (row.role, row.uses_left) == (int(role), uses_left)]
        rows = [row for row in rows if not row.expires_ms or row.expires_ms > least]
        return max(rows, key=lambda row: (not row.expires_ms, row.expires_ms), default=None)

    def outstanding(self, volume: VolumeId) -> list[InviteRow]:
        """Lists the invites that can still be redeemed. The rows hold secrets: show a digest at most."""
        return [row for row in self._devices.invites(volume) if self._refusal(row) is None]

    def revoke(self, volume: VolumeId, told: str) -> list[InviteRow]:
        """One invite by its id or the beginning of it, or `all`; those that are worth nothing from now on.

        Raises InviteUnknown, BadArgument where several ids begin like that.
        """
        rows = self.outstanding(volume)
        if told != "all":
            rows = [row for row in rows if len(told) >= MIN_ID and invite_id(row).startswith(told.lower())]
            if not rows:
                shows = f"`holofsctl share --list {shell_word(self._name_of(volume))}` shows them"
                raise InviteUnknown(f"This device has no such invite that can still be redeemed; {shows}.")
            if len(rows) > 1:
                raise BadArgument("Several invites begin like that: tell more of the id.")
        with self._devices.db.transaction():
            for row in rows:
                self._devices.put_invite(replace(row, revoked=1))
        log.info("invites were revoked", count=len(rows))
        return rows

    # ---- of devices that were removed
    def redeemed_by(self, volume: VolumeId, device: DeviceId) -> list[InviteRow]:
        """The invites that can still be redeemed, and that this device has redeemed: it can come back with them."""
        return [row for row in self.outstanding(volume) if device in self._devices.redeemers(row.secret)]

    @contextmanager
    def keeping(self, volume: VolumeId, device: DeviceId) -> Iterator[None]:
        """Removing that device meanwhile leaves those good. If that fails they are as before."""
        with self._devices.db.transaction():
            for row in self.redeemed_by(volume, device):
                self._devices.keep_invite(row.secret, device, 1)
        try:
            yield
        except HoloError:
            with self._devices.db.transaction():
                for row in self.outstanding(volume):
                    self._devices.keep_invite(row.secret, device, 0)
            raise

    def look(self, volume: VolumeId) -> None:
        """Revokes invites that a device redeemed which may not do any more what they are good for.

        A device that was removed, here or elsewhere, still has the ticket, and would come back under a new key.
        """
        rows = (row for row in self._devices.invites(volume) if self._spent(row) is None)
        lost = [row for row in rows if self._is_in_wrong_hands(row)]
        if not lost:
            return
        try:
            with self._devices.db.transaction():
                for row in lost:
                    self._devices.put_invite(replace(row, revoked=1))
        except (HoloError, OSError, sqlite3.Error) as error:
            log.warning("invites of a removed device could not be revoked; they are refused", why=str(error))
            return
        log.info("invites were revoked that a removed device knows", count=len(lost))

    def _is_in_wrong_hands(self, row: InviteRow) -> bool:
        members = self._members_of(row.volume)
        if members is None or members.role != Role.ADMIN:
            return False  # worth nothing now, and perhaps not all is known
        roles = members.membership.roles
        return any(roles.get(device, 0) < row.role for device in self._devices.redeemers(row.secret))

    def _admin_of(self, volume: VolumeId) -> Members:
        members = self._members_of(volume)
        if members is None or members.role is None:
            raise NotAMember("This device is not a member of that volume.")
        if members.role < Role.ADMIN:
            raise RoleTooLow("Only an admin of the volume can share it: ask the device that shared it with you.")
        return members

    # ---- for whoever comes with a ticket
    async def serve(self, connection: Connection) -> None:
        """One connection with protocol `holofs-join/1`: one question, one answer, and the word that it arrived."""
        alone: asyncio.Task[None] | None = None
        try:
            async with asyncio.timeout(2 * ANSWER_TIMEOUT):
                async with asyncio.timeout(QUESTION_TIMEOUT):
                    stream = await connection.accept_stream()
                    alone = asyncio.get_running_loop().create_task(_close_at_second_stream(connection))
                    data = await stream.receive(MAX_REDEEM)
                if data is not None:
                    answer = self._answer(connection, data)
                    if answer.WhichOneof("answer") == "credentials":
                        self.on_heard(connection)  # a ticket that is none keeps no room
                    await stream.send(answer.SerializeToString())
                    await stream.receive(MAX_REDEEM)
        except (TimeoutError, HoloError):
            log.debug("a redemption ended early", peer=connection.peer.hex()[:8])
        finally:
            connection.close(CloseCode.NORMAL)
            if alone is not None:
                await asyncio.wait((alone,))

    def _answer(self, connection: Connection, data: bytes) -> pb.Redeemed:
        """A ticket that is good is good, however often others at the same address have guessed."""
        now = asyncio.get_running_loop().time()
        source = source_of(connection.remote_address)
        answer = self._redeem(connection.peer, data)
        if answer.WhichOneof("answer") == "refused":
            if self._slow_down.blocked(source, now):
                return pb.Redeemed(refused="slow-down")
            self._slow_down.failed(source, now)
            log.warning("an invite was refused", peer=connection.peer.hex()[:8], why=answer.refused)
        return answer

    def _redeem(self, device: DeviceId, data: bytes) -> pb.Redeemed:
        request = pb.Redeem()
        try:
            request.ParseFromString(data)
        except (DecodeError, ValueError):
            return pb.Redeemed(refused="unknown")
        row = self._devices.invite(request.secret) if len(request.secret) == 16 else None
        members = self._members_of(VolumeId(request.volume))
        if row is None or row.volume != request.volume or members is None or members.role != Role.ADMIN:
            return pb.Redeemed(refused="unknown")
        if not self._devices.redeemed(row.secret, device):
            refusal = self._refusal(row)
            if refusal is not None:
                return pb.Redeemed(refused=refusal)
            self._admit(members, row, device, device_name(request.device_name, MAX_NAME))
        elif not members.is_member(device):
            return pb.Redeemed(refused="used")  # it was a member by this invite, and was removed since
        return pb.Redeemed(
            credentials=wire.to_credentials(members.shown_to(device)), volume_name=self._name_of(request.volume)
        )

    def _admit(self, members: Members, row: InviteRow, device: DeviceId, name: str) -> None:
        """Never lowers a role that the device has."""
        role = Role(row.role)
        current = members.membership.roles.get(device)
        if current is None or current < role:
            members.grant(device, role, name)
        faults.reach("joining.granted")
        with self._devices.db.transaction():
            self._devices.use_invite(row.secret, device)
        log.info("an invite was redeemed", peer=device.hex()[:8], role=role.name)

    def _refusal(self, row: InviteRow) -> str | None:
        spent = self._spent(row)
        return "revoked" if spent is None and self._is_in_wrong_hands(row) else spent

    def _spent(self, row: InviteRow) -> str | None:
        if row.revoked:
            return "revoked"
        if row.expires_ms and self._now_ms() >= row.expires_ms:
            return "expired"
        return "used" if row.uses_left == 0 else None

    def _name_of(self, volume: bytes) -> str:
        return next((row.name for row in self._devices.volumes() if row.id == volume), "")


async def _close_at_second_stream(connection: Connection) -> None:
    """There is one stream in this protocol; what is sent on others would lie in memory unread."""
    with contextlib.suppress(ConnectionLost):
        await connection.accept_stream()
        connection.close(CloseCode.PROTOCOL)


async def redeem(endpoint: Endpoint, invite: Invite, name: str) -> RedeemResult:
    """The redeeming side. Raises Unreachable or ConnectionLost (try again), TicketRefused (try again later), its
    subclass LastingRefusal (never again), Refused for an answer that cannot be true."""
    connection = await endpoint.connect(invite.issuer, invite.addresses, JOIN_ALPN, invite.relay_url)
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT):
            return await _redeem_over(await connection.open_stream(), invite, endpoint.device, name)
    except TimeoutError:
        raise ConnectionLost("The device that issued the ticket did not answer in time.") from None
    finally:
        connection.close(CloseCode.NORMAL)


async def _redeem_over(stream: Stream, invite: Invite, device: DeviceId, name: str) -> RedeemResult:
    request = pb.Redeem(protocol=PROTOCOL, volume=invite.volume, secret=invite.secret, device_name=name[:MAX_NAME])
    await stream.send(request.SerializeToString())
    data = await stream.receive()
    if data is None:
        raise ConnectionLost("The device that issued the ticket closed the connection.")
    answer = pb.Redeemed()
    try:
        answer.ParseFromString(data)
    except (DecodeError, ValueError) as error:
        raise Refused("The device that issued the ticket sent an answer that cannot be read.") from error
    if answer.WhichOneof("answer") != "credentials":
        raise _refused(answer.refused)
    credentials = wire.from_credentials(answer.credentials)
    await verify_all(invite.volume, credentials)
    if device not in rules.resolve(invite.volume, credentials).roles:
        raise Refused("The device that issued the ticket did not make this device a member.")
    await stream.send(pb.Redeem(protocol=PROTOCOL, volume=invite.volume, confirm=True).SerializeToString())
    return RedeemResult(invite.volume, credentials, one_line(answer.volume_name, MAX_NAME) or invite.volume_name)


class LastingRefusal(TicketRefused):
    """Refusal of a ticket that will not change: asking again does not help."""


def _refused(code: str) -> TicketRefused:
    sentence = REFUSALS.get(code, "The device that issued the ticket refused it.")
    return TicketRefused(sentence) if code in PASSING_REFUSALS else LastingRefusal(sentence)
