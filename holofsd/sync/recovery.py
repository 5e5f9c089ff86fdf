# SPDX-License-Identifier: GPL-3.0-or-later
"""Becoming an admin again by the recovery code, on a device that does not hold the volume.

The volume's own key signs a grant for this device. Shown to any member, it opens a session; what that member knows of
the others comes first in it, and with that the device can go on as if it had been invited.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from holofs_peer.v1 import peer_pb2 as pb
from holofsd.codec.signing import SigningKey, sign_grant
from holofsd.core import members as rules
from holofsd.core.credentials import merge_credentials, relevant
from holofsd.core.document import Credentials, Role
from holofsd.core.errors import BadArgument, ConnectionLost, HoloError, ProtocolViolation, Refused, Unreachable
from holofsd.core.ids import DeviceId, VolumeId
from holofsd.net.api import SESSION_ALPN, CloseCode, Endpoint, Stream
from holofsd.sync import frames
from holofsd.sync.session import Dismissed, open_stream
from holofsd.sync.signers import verify_all

log = structlog.get_logger(__name__)

ANSWER_TIMEOUT: Final = 10.0
_FRAMES: Final = 64
"""Credentials are the first that a session says, before what is held; a few frames of something else are borne."""


@dataclass(frozen=True, slots=True)
class Source:
    """A member to get the volume from."""

    device: DeviceId
    addresses: tuple[str, ...] = ()


def read_source(told: str) -> Source:
    """`DEVICE` or `DEVICE@ADDRESS[,ADDRESS…]`. Raises BadArgument."""
    device, at, listed = told.strip().partition("@")
    addresses = tuple(address for address in listed.split(",") if address)
    if not re.fullmatch(r"[0-9a-fA-F]{64}", device):
        raise BadArgument("A device is told by its whole id, 64 digits, which the list of members shows there.")
    if at and not addresses:
        raise BadArgument("The address after the @ is missing.")
    return Source(DeviceId(bytes.fromhex(device)), addresses)


async def recover(
    endpoint: Endpoint, key: SigningKey, name: str, sources: Sequence[Source], now_ms: Callable[[], int]
) -> tuple[Credentials, Source]:
    """Asks sources until one answers. Returns the credentials that make this device an admin, with all that a member
    knew of the volume, and that source.

    Raises Unreachable or ConnectionLost where none of the sources can be reached or knows the volume.
    """
    failure: HoloError = Unreachable("No member of the volume was named.")
    for source in sources:
        try:
            return await _recover_from(endpoint, key, name, source, now_ms), source
        except (Unreachable, ConnectionLost, ProtocolViolation, Refused) as error:
            log.info("a member could not be asked", peer=source.device.hex()[:8], why=error.message)
            failure = error
    raise Unreachable(f"No device that was named could be reached, or none holds this volume: {failure.message}")


async def _recover_from(
    endpoint: Endpoint, key: SigningKey, name: str, source: Source, now_ms: Callable[[], int]
) -> Credentials:
    volume = VolumeId(key.public)

    def granted(generation: int) -> Credentials:
        grant = sign_grant(key, volume, endpoint.device, Role.ADMIN, generation, name)
        return Credentials(grants=(grant,))

    mine = granted(1)
    theirs = await _ask(endpoint, volume, source, frames.hello(volume, pb.PURPOSE_SESSION, mine, name, now_ms()))
    membership = rules.resolve(volume, merge_credentials(mine, theirs))
    if membership.roles.get(endpoint.device) != Role.ADMIN:
        # It was a member before: in a lower role, or removed since.
        mine = granted(rules.free_generation(volume, relevant(volume, theirs), endpoint.device))
    return relevant(volume, merge_credentials(mine, theirs))


async def _ask(endpoint: Endpoint, volume: VolumeId, source: Source, hello: bytes) -> Credentials:
    direct = [address for address in source.addresses if "://" not in address]
    relay = next((address for address in source.addresses if "://" in address), "")
    connection = await endpoint.connect(source.device, direct, SESSION_ALPN, relay)
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT):
            found = await _credentials(await connection.open_stream(), hello)
    except TimeoutError:
        raise ConnectionLost("The other device did not answer in time.") from None
    finally:
        connection.close(CloseCode.NORMAL)
    await verify_all(volume, found)
    return found


async def _credentials(stream: Stream, hello: bytes) -> Credentials:
    try:
        await open_stream(stream, hello, ANSWER_TIMEOUT)
    except Dismissed as removed:
        return removed.credentials
    found: list[Credentials] = []
    for _ in range(_FRAMES):
        data = await stream.receive()
        if data is None:
            break
        frame = frames.parse(data)
        if frame.WhichOneof("frame") == "credentials":
            found.append(frames.read_credentials(frame.credentials))
        elif frame.WhichOneof("frame") == "have" and found:
            break
    if not found:
        raise ConnectionLost("The other device did not say who belongs to the volume.")
    return merge_credentials(*found)
