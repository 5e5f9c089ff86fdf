# SPDX-License-Identifier: GPL-3.0-or-later
"""Interface of the daemon to the Control service, as a protocol and plain values.

Every value has the fields of the message of `holofs.v1` that it becomes (`convert.to_message`), so it also says what
`holofsctl` can show. All methods raise `HoloError`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from holofs_api.mount_access import Allow
from holofsd.core.document import Role
from holofsd.fs.api import Filesystem
from holofsd.fs.types import Alternative
from holofsd.rpc.browsing_api import BrowsingService
from holofsd.rpc.history_api import HistoryService, HistoryStatus
from holofsd.rpc.safety_api import CareService, DeviceRecords
from holofsd.rpc.settings_api import SettingsService
from holofsd.rpc.traffic_api import TrafficService, TrafficStatus
from holofsd.rpc.transfer_api import TransferService
from holofsd.rpc.watching_api import WatchingService


@dataclass(frozen=True, slots=True)
class Identity:
    device_id: str
    """Hex of the node key."""
    program: str
    """For example "holofsd 0.1.0"."""
    pid: int


@dataclass(frozen=True, slots=True)
class VolumeSummary:
    id: str
    name: str
    role: Role | None
    state: str
    """"ready", "joining" or "damaged"."""
    explanation: str = ""


@dataclass(frozen=True, slots=True)
class ShareReply:
    ticket: str
    expires_at_ms: int
    """0: never."""
    uses: int
    """0: no limit."""
    role: Role

    def __repr__(self) -> str:
        return f"ShareReply(ticket=<hidden>, role={self.role.name})"


@dataclass(frozen=True, slots=True)
class InviteSummary:
    """One that can still be redeemed."""

    id: str
    role: Role
    uses_left: int
    """0: no limit."""
    made_at_ms: int
    expires_at_ms: int
    """0: never."""


@dataclass(frozen=True, slots=True)
class JoinProgress:
    stage: str
    """connecting | waiting | redeemed | ready."""
    message: str
    volume: VolumeSummary | None = None


@dataclass(frozen=True, slots=True)
class Member:
    device_id: str
    name: str
    role: Role | None
    is_self: bool = False
    removed: bool = False
    connected: bool = False
    generation: int = 0
    left: bool = False
    revoked: tuple[InviteSummary, ...] = ()
    """Invites that were revoked with the change, because the device had redeemed them."""


@dataclass(frozen=True, slots=True)
class MountInfo:
    volume: str
    path: str
    read_only: bool
    state: str
    """"up", "starting" or "down"."""
    explanation: str = ""
    pid: int = 0
    binding: str = ""
    at_ms: int = 0
    """Shows the volume as it was then; 0: as it is."""
    program: str = ""
    """Name and version that its process gave when it attached last; empty: it has not."""
    api_version: int = 0
    allow: Allow = Allow.OWNER
    no_exec: bool = False


@dataclass(frozen=True, slots=True)
class PeerSummary:
    device_id: str
    name: str
    connected: bool
    volumes: tuple[str, ...] = ()
    address: str = ""
    last_seen_ms: int = 0
    explanation: str = ""
    path: str = ""
    round_trip_us: int = 0
    sent_bytes: int = 0
    received_bytes: int = 0
    sending: int = 0
    receiving: int = 0
    seconds_left: int = 0


@dataclass(frozen=True, slots=True)
class NetworkStatus:
    """Addresses of this device, and what goes over the network. See control.proto."""

    addresses: tuple[str, ...] = ()
    relay: str = ""
    uses_relays: bool = False
    sending: int = 0
    receiving: int = 0
    seconds_left: int = 0


@dataclass(frozen=True, slots=True)
class ToSend:
    """Number and size of what another device lacks, as far as this one knows. See control.proto."""

    files: int
    bytes: int
    others: int
    more: bool
    percent: int | None = None
    sent_bytes: int = 0


@dataclass(frozen=True, slots=True)
class DeviceSafety:
    """Whether another device says that it holds everything written here up to now."""

    device_id: str
    name: str
    connected: bool
    complete: bool
    complete_as_of_ms: int = 0
    records_behind: int = 0
    clock_ahead_ms: int = 0
    left: bool = False
    to_send: ToSend | None = None


@dataclass(frozen=True, slots=True)
class LieSummary:
    """One kind of untrue thing that a device said. See control.proto."""

    device_id: str
    name: str
    what: str
    number: int
    first_ms: int
    last_ms: int
    example: str


@dataclass(frozen=True, slots=True)
class Unavailable:
    """Content that cannot be had now. See control.proto."""

    path: bytes
    device_id: str
    name: str
    size: int
    why: str


@dataclass(frozen=True, slots=True)
class VolumeStatus:
    volume: VolumeSummary
    files: int = 0
    bytes: int = 0
    unpublished: int = 0
    records_behind: int = 0
    content_missing: int = 0
    content_missing_bytes: int = 0
    conflicts: int = 0
    quarantined: int = 0
    pending: int = 0
    devices: tuple[DeviceSafety, ...] = ()
    quarantine_reasons: tuple[str, ...] = ()
    unsealed: int = 0
    history: HistoryStatus | None = None
    record_budgets: tuple[DeviceRecords, ...] = ()
    held_files: int = 0
    held_directories: int = 0
    held_since_ms: int = 0
    held_by: tuple[str, ...] = ()
    damaged: int = 0
    lies: tuple[LieSummary, ...] = ()
    unavailable: tuple[Unavailable, ...] = ()
    ignored: int = 0
    ignored_bytes: int = 0
    content_arrived_bytes: int = 0


@dataclass(frozen=True, slots=True)
class SpaceStatus:
    """The disk that holds the state directory. See control.proto."""

    free_bytes: int
    total_bytes: int
    reserve_bytes: int
    refused: bool
    refused_since_ms: int
    history_max_bytes: int
    history_used_bytes: int


@dataclass(frozen=True, slots=True)
class DeviceStatus:
    device_id: str
    device_name: str
    program: str
    pid: int
    uptime_seconds: int
    volumes: tuple[VolumeStatus, ...] = ()
    mounts: tuple[MountInfo, ...] = ()
    warnings: tuple[str, ...] = ()
    resident_bytes: int = 0
    copies: tuple[str, ...] = ()
    """Among the warnings: those of state directories that are in use twice."""
    space: SpaceStatus | None = None
    metrics_port: int = 0
    traffic: TrafficStatus | None = None
    peers: tuple[PeerSummary, ...] = ()
    network: NetworkStatus | None = None


@dataclass(frozen=True, slots=True)
class Conflict:
    path: bytes
    """Of the copy, inside the volume; empty where it is hidden."""
    shown_path: bytes
    """Of the name that it stands beside."""
    device: str
    written_ms: int
    size: int
    volume: str
    id: str
    kind: str
    here: bool
    shown: Alternative


@dataclass(frozen=True, slots=True)
class Resolution:
    """`keep`: shown, copy, both, newest, device, id."""

    volume: str
    path: bytes
    all: bool
    keep: str
    device: str = ""
    id: str = ""


@dataclass(frozen=True, slots=True)
class SettledConflict:
    volume: str
    path: bytes
    kept: Alternative | None
    replaced: tuple[Alternative, ...]
    files: tuple[bytes, ...]
    problem: str


@dataclass(frozen=True, slots=True)
class WaitProgress:
    copies: int
    done: bool
    message: str
    ignored: int = 0


@dataclass(frozen=True, slots=True)
class MountOptions:
    read_only: bool = False
    binding: str = ""
    """Empty: the best one that is there."""
    remember: bool = True
    """Bring it back at the next `up`."""
    at_ms: int = 0
    allow: Allow = Allow.OWNER
    no_exec: bool = False


@dataclass(frozen=True, slots=True)
class FsckOrders:
    repair: bool = False
    from_backup: bool = False
    content: bool = False


@dataclass(frozen=True, slots=True)
class FsckCount:
    what: str
    number: int


@dataclass(frozen=True, slots=True)
class FsckFinding:
    code: str
    message: str
    outcome: str
    """"fixable", "fixed" or "left"."""
    count: int
    subjects: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FsckVolume:
    volume: str
    id: str
    findings: tuple[FsckFinding, ...] = ()
    checked: tuple[FsckCount, ...] = ()
    left: int = 0
    backup_at_ms: int = 0


class DeviceService(
    BrowsingService,
    HistoryService,
    CareService,
    SettingsService,
    TrafficService,
    TransferService,
    WatchingService,
    Protocol,
):
    """This device, for its owner. Volumes are told by name on this device or by hex id."""

    def identity(self) -> Identity: ...

    async def status(self, volume: str) -> DeviceStatus:
        """Status of one volume, or of all where `volume` is empty."""

    async def create_volume(self, name: str) -> VolumeSummary: ...

    async def share(self, volume: str, role: Role, uses: int, expires_seconds: int, reuse: bool = False) -> ShareReply:
        """`reuse`: the ticket of an invite made before, if one of this kind is still good."""

    async def invites(self, volume: str) -> tuple[InviteSummary, ...]:
        """Made here, and still to be redeemed."""

    async def revoke_invite(self, volume: str, invite: str) -> tuple[InviteSummary, ...]:
        """Revokes an invite by its id or its beginning, or `all`."""

    async def recovery_code(self, volume: str, forget: bool) -> str: ...

    async def recover(self, code: str, name: str, sources: tuple[str, ...]) -> VolumeSummary:
        """This device becomes an admin by the volume's recovery code."""

    def join(self, ticket: str, name: str, no_wait: bool) -> AsyncIterator[JoinProgress]:
        """Ends with stage "ready" (or the last stage reached, with `no_wait`); goes on when the iterator is dropped."""

    async def list_volumes(self) -> tuple[VolumeSummary, ...]: ...

    async def leave(self, volume: str, delete: bool) -> str:
        """Leaves a volume. Returns where its files were kept; empty where they were deleted."""

    async def members(self, volume: str) -> tuple[Member, ...]: ...

    async def set_member(
        self, volume: str, device: str, role: Role | None, keep_invites: bool = False, undo: bool = False
    ) -> Member:
        """Gives the device a role, or removes it (None).

        Invites that it redeemed here are revoked, if they are worth more than its new role; with `keep_invites` those
        of a removed device are not. `undo`: what a removed device did as an admin counts no more.
        """

    async def device_name(self, new: str | None) -> str:
        """Returns the name of this device; `new` is its name from now on, for every device. Raises BadArgument."""

    async def mount(self, volume: str, path: str, options: MountOptions) -> MountInfo: ...

    async def unmount(self, path: str, force: bool) -> bool:
        """Whether programs go on with what they have open there. Raises MountUnknown, MountBusy (not with `force`)."""

    async def restore_mounts(self) -> tuple[MountInfo, ...]: ...

    def mount_heard(self, mount_id: str, program: str, api_version: int) -> None:
        """A mount attaches, or is refused for its version: what it said of itself."""

    async def peers(self) -> tuple[PeerSummary, ...]: ...

    async def conflicts(self, volume: str, path: bytes) -> tuple[Conflict, ...]: ...

    def resolve(self, asked: Resolution) -> AsyncIterator[SettledConflict]: ...

    def read_alternative(self, volume: str, path: bytes, id: str) -> AsyncIterator[bytes]: ...

    def wait(self, volume: str, copies: int, timeout_seconds: int) -> AsyncIterator[WaitProgress]: ...

    async def fsck_device(self) -> FsckVolume:
        """Checks what the device knows apart from its volumes. It looks only."""

    async def fsck(self, volume: str, orders: FsckOrders) -> tuple[FsckVolume, ...]:
        """One volume, or all where `volume` is empty. To repair, the volume is closed for a while; its mounts wait."""

    async def shutdown(self, unmount: bool) -> None:
        """Unmounts if told, then lets the daemon end soon after the answer."""

    async def caught_up(self) -> None:
        """Returns when what programs closed is in the volumes, in seconds at most: what is asked now comes after it."""

    async def filesystem(self, volume: str) -> Filesystem:
        """The filesystem of a volume, for a mount that attaches; with `@` and ms behind its name, as it was then."""
