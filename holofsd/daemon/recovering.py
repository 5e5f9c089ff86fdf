# SPDX-License-Identifier: GPL-3.0-or-later
"""The recovery code of a volume: told, forgotten, and used to become an admin again.

Crash windows: between the volume's row and its directory a volume is left that says it is being joined and has no
ticket; the same command again goes on from there.
"""

from __future__ import annotations

from collections.abc import Sequence

from holofs_api.shell import shell_word
from holofsd.codec.recovery import decode_recovery, encode_recovery
from holofsd.codec.signing import SigningKey
from holofsd.core.errors import BadArgument, RecoveryUnknown, RoleTooLow, VolumeUnknown
from holofsd.core.ids import VolumeId
from holofsd.daemon.joining import Joiner
from holofsd.daemon.names import check_volume_name
from holofsd.daemon.vitals import now_ms
from holofsd.daemon.volumes import Volumes
from holofsd.net.api import Endpoint
from holofsd.store.device import VolumeRow
from holofsd.sync.hub import SyncHub
from holofsd.sync.recovery import read_source, recover


class Recovery:
    """Recovery codes: showing, forgetting and using them."""

    def __init__(self, endpoint: Endpoint, hub: SyncHub, volumes: Volumes, joiner: Joiner) -> None:
        self._endpoint = endpoint
        self._hub = hub
        self._volumes = volumes
        self._joiner = joiner

    def code(self, told: str, forget: bool) -> str:
        """The recovery code of a volume, which is kept here no longer if told to forget it. Raises RecoveryUnknown."""
        row = self._volumes.row(told)
        if row.secret is None:
            raise RecoveryUnknown(
                f"This device does not have the recovery code of {row.name}: the device that made the volume shows it."
            )
        if forget:
            self._volumes.keep_secret(row.id, None)
        return encode_recovery(row.secret)

    def require_may_leave(self, row: VolumeRow) -> None:
        """Raises RoleTooLow where the others would be left without an admin, and nobody with the recovery code."""
        opened = self._volumes.get(row.id)
        if opened is None or row.secret is None:
            return
        members = opened.sync.members
        if members.others() and members.is_last_admin(members.device):
            raise RoleTooLow(
                f"This device is the only admin of {row.name}: make another device an admin first, or write the"
                f" recovery code down and have it forgotten here: `holofsctl recovery {shell_word(row.name)} --forget`."
            )

    async def recover(self, code: str, name: str, sources: Sequence[str]) -> VolumeRow:
        """Makes this device an admin of the volume that the code belongs to, and keeps the code."""
        key = SigningKey(decode_recovery(code))
        volume = VolumeId(key.public)
        row = self._volumes.row_of(volume)
        if volume in self._volumes.damage:
            raise VolumeUnknown(f"The volume cannot be used here: {self._volumes.damage[volume]}")
        if row is not None and name and name != row.name:
            raise BadArgument(f"This device already knows this volume as {row.name!r}.")
        opened = self._volumes.get(volume)
        if opened is not None:
            opened.sync.members.recover(key, self._hub.names.own)
        else:
            await self._bring(key, name, sources)
        self._volumes.keep_secret(volume, key.seed)
        return self._volumes.row(volume.hex())

    async def _bring(self, key: SigningKey, name: str, told: Sequence[str]) -> None:
        """A device that does not hold the volume: a member has to say who the others are."""
        volume = VolumeId(key.public)
        if self._volumes.row_of(volume) is None:
            if not name:
                raise BadArgument("This device does not hold that volume: say with --name what to call it here.")
            self._volumes.require_free(check_volume_name(name))
        if not told:
            raise BadArgument(
                "This device does not hold that volume: say with --from which device does, or run `recover` there."
            )
        sources = [read_source(source) for source in told]
        credentials, source = await recover(self._endpoint, key, self._hub.names.own, sources, now_ms)
        self._joiner.drop(volume)
        if self._volumes.row_of(volume) is None:
            self._volumes.reserve(volume, name)
        await self._volumes.enter(volume, credentials)
        self._hub.learn(source.device, source.addresses)
