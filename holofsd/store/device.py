# SPDX-License-Identifier: GPL-3.0-or-later
"""The device's own database: its volumes, invites, pending joins, mounts and where others were reached."""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields
from pathlib import Path

from holofsd.core.ids import DeviceId, VolumeId
from holofsd.store.database import Database, scripts
from holofsd.store.meta import WithMeta


@dataclass(frozen=True, slots=True)
class VolumeRow:
    id: VolumeId
    name: str
    state: str
    secret: bytes | None
    added_ms: int


@dataclass(frozen=True, slots=True)
class InviteRow:
    secret: bytes
    volume: VolumeId
    role: int
    uses_left: int
    expires_ms: int
    made_ms: int
    revoked: int


@dataclass(frozen=True, slots=True)
class JoinRow:
    volume: VolumeId
    ticket: str
    name: str
    refused: str


@dataclass(frozen=True, slots=True)
class MountRow:
    path: bytes
    volume: VolumeId
    read_only: int
    binding: str
    mount_id: str
    pid: int
    wanted: int
    at_ms: int = 0
    allow: str = ""
    no_exec: int = 0


class DeviceStore(WithMeta):
    """All writes belong inside `db.transaction()`."""

    def __init__(self, directory: Path) -> None:
        self.db = Database(directory / "device.db", scripts("device_formats"))

    def close(self) -> None:
        self.db.close()

    def metas(self, prefix: str) -> list[tuple[str, bytes]]:
        """Names that begin like that, with their values."""
        found = self.db.all("SELECT name, value FROM meta WHERE substr(name, 1, ?)=?", (len(prefix), prefix))
        return [(row[0], row[1]) for row in found]

    # ---- volumes
    def volumes(self) -> list[VolumeRow]:
        rows = self.db.all("SELECT id, name, state, secret, added_ms FROM volumes ORDER BY name")
        return [VolumeRow(*row) for row in rows]

    def put_volume(self, row: VolumeRow) -> None:
        self.db.run(
            "INSERT OR REPLACE INTO volumes (id, name, state, secret, added_ms) VALUES (?,?,?,?,?)",
            (row.id, row.name, row.state, row.secret, row.added_ms),
        )

    def delete_volume(self, volume: VolumeId) -> None:
        self.db.run("DELETE FROM redemptions WHERE secret IN (SELECT secret FROM invites WHERE volume=?)", (volume,))
        for table, column in (("volumes", "id"), ("invites", "volume"), ("joins", "volume"), ("mounts", "volume")):
            self.db.run(f"DELETE FROM {table} WHERE {column}=?", (volume,))

    # ---- invites
    def put_invite(self, row: InviteRow) -> None:
        self.db.run(
            "INSERT OR REPLACE INTO invites VALUES (?,?,?,?,?,?,?)",
            (row.secret, row.volume, row.role, row.uses_left, row.expires_ms, row.made_ms, row.revoked),
        )

    def invite(self, secret: bytes) -> InviteRow | None:
        row = self.db.one("SELECT * FROM invites WHERE secret=?", (secret,))
        return InviteRow(*row) if row else None

    def invites(self, volume: VolumeId) -> list[InviteRow]:
        return [InviteRow(*row) for row in self.db.all("SELECT * FROM invites WHERE volume=?", (volume,))]

    def all_invites(self) -> list[InviteRow]:
        return [InviteRow(*row) for row in self.db.all("SELECT * FROM invites")]

    def redeemed_secrets(self) -> set[bytes]:
        return {row[0] for row in self.db.all("SELECT DISTINCT secret FROM redemptions")}

    def redeemed(self, secret: bytes, device: DeviceId) -> bool:
        return self.db.one("SELECT 1 FROM redemptions WHERE secret=? AND device=?", (secret, device)) is not None

    def use_invite(self, secret: bytes, device: DeviceId) -> None:
        self.db.run("INSERT OR IGNORE INTO redemptions (secret, device) VALUES (?,?)", (secret, device))
        self.db.run("UPDATE invites SET uses_left=uses_left-1 WHERE secret=? AND uses_left>0", (secret,))

    def redeemers(self, secret: bytes) -> list[DeviceId]:
        """Lists the devices that redeemed an invite and whose removal makes it worth nothing."""
        return [row[0] for row in self.db.all("SELECT device FROM redemptions WHERE secret=? AND kept=0", (secret,))]

    def keep_invite(self, secret: bytes, device: DeviceId, kept: int) -> None:
        """1: the invite stays good when that device is removed."""
        self.db.run("UPDATE redemptions SET kept=? WHERE secret=? AND device=?", (kept, secret, device))

    # ---- joins
    def joins(self) -> list[JoinRow]:
        return [JoinRow(*row) for row in self.db.all("SELECT volume, ticket, name, refused FROM joins")]

    def put_join(self, row: JoinRow) -> None:
        self.db.run("INSERT OR REPLACE INTO joins VALUES (?,?,?,?)", (row.volume, row.ticket, row.name, row.refused))

    def delete_join(self, volume: VolumeId) -> None:
        self.db.run("DELETE FROM joins WHERE volume=?", (volume,))

    # ---- mounts
    def mounts(self) -> list[MountRow]:
        return [MountRow(*row) for row in self.db.all("SELECT * FROM mounts ORDER BY path")]

    def put_mount(self, row: MountRow) -> None:
        self.db.run(
            f"INSERT OR REPLACE INTO mounts VALUES ({','.join('?' * len(fields(row)))})",
            astuple(row),
        )

    def delete_mount(self, path: bytes) -> None:
        self.db.run("DELETE FROM mounts WHERE path=?", (path,))

    # ---- addresses
    def addresses(self, device: DeviceId) -> list[str]:
        """Newest first."""
        rows = self.db.all("SELECT address FROM addresses WHERE device=? ORDER BY seen_ms DESC LIMIT 16", (device,))
        return [row[0] for row in rows]

    def devices_with_addresses(self) -> list[DeviceId]:
        return [row[0] for row in self.db.all("SELECT DISTINCT device FROM addresses")]

    def put_address(self, device: DeviceId, address: str, now_ms: int) -> None:
        self.db.run("INSERT OR REPLACE INTO addresses VALUES (?,?,?)", (device, address, now_ms))
        # A device cannot fill the table: the newest sixteen are enough.
        self.db.run(
            "DELETE FROM addresses WHERE device=? AND address NOT IN"
            " (SELECT address FROM addresses WHERE device=? ORDER BY seen_ms DESC LIMIT 16)",
            (device, device),
        )
