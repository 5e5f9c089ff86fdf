# SPDX-License-Identifier: GPL-3.0-or-later
"""Status of volumes, members and peers, as values of the local API. Reads only."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from holofs_api.words import count
from holofsd.core.document import Role
from holofsd.core.ids import DeviceId
from holofsd.core.members import letting
from holofsd.core.skew import TOLERANCE_MS
from holofsd.daemon import vitals
from holofsd.daemon.history import history_status
from holofsd.daemon.pinging import path_of
from holofsd.daemon.safety import record_budgets
from holofsd.daemon.vitals import now_ms
from holofsd.daemon.volumes import OpenVolume, Volumes
from holofsd.fs.settings import FsSettings
from holofsd.fs.types import Census
from holofsd.net.addresses import is_meant
from holofsd.net.api import Discovery, Endpoint, NetConfig
from holofsd.net.peer import PeerStatus
from holofsd.rpc import device_api as api
from holofsd.store.device import InviteRow, VolumeRow
from holofsd.store.lacking import Lacking
from holofsd.sync.hub import SyncHub
from holofsd.sync.invites import invite_id

_LEAST_RATE: Final = 1024
"""Bytes a second; what is slower are remarks, not files."""
_PAUSED: Final = "It is paused here: `holofsctl resume` ends that."


def volume_status(summary: api.VolumeSummary, opened: OpenVolume) -> api.VolumeStatus:
    sync = opened.sync.status()
    census = opened.filesystem.census()
    quarantine = dict(sync.quarantine_reasons)
    held = opened.sync.brake.report()
    if census.bad_names:
        quarantine["a name that no file can have"] = census.bad_names
    return api.VolumeStatus(
        volume=summary,
        files=census.files,
        bytes=census.bytes,
        unpublished=sync.unpublished,
        records_behind=sync.records_behind + sync.merge_backlog,
        content_missing=sync.content_missing,
        content_missing_bytes=sync.content_missing_bytes,
        conflicts=census.conflicts,
        quarantined=sum(quarantine.values()),
        pending=census.pending,
        devices=tuple(
            api.DeviceSafety(
                device_id=device.device.hex(),
                name=device.name,
                connected=device.connected,
                # What is not sent yet is on no other device, whatever that one says of what it was sent.
                complete=device.complete and not sync.unpublished and not census.unfinalized,
                complete_as_of_ms=device.complete_as_of_ms,
                records_behind=device.records_behind,
                clock_ahead_ms=shown_skew(device.clock_ahead_ms),
                left=device.left,
                to_send=_to_send(opened, device.device, census),
            )
            for device in sync.devices
        ),
        quarantine_reasons=tuple(f"{reason}: {count}" for reason, count in sorted(quarantine.items())),
        unsealed=census.unfinalized,
        held_files=held.files,
        held_directories=held.directories,
        held_since_ms=held.since_ms,
        held_by=held.devices,
        damaged=opened.sync.care.damaged(),
        history=history_status(opened.filesystem.history),
        lies=tuple(
            api.LieSummary(
                lie.device.hex() if lie.device is not None else "",
                lie.name,
                lie.what,
                lie.count,
                lie.first_ms,
                lie.last_ms,
                lie.example,
            )
            for lie in sync.lies
        ),
        unavailable=tuple(
            api.Unavailable(
                found.path, found.device.hex() if found.device is not None else "", found.name, found.size, found.why
            )
            for found in sync.unavailable
        ),
        record_budgets=record_budgets(opened.sync),
        ignored=census.ignored,
        ignored_bytes=census.ignored_bytes,
        content_arrived_bytes=min(_arrived(opened), sync.content_missing_bytes) if sync.content_missing else 0,
    )


def _to_send(opened: OpenVolume, device: DeviceId, census: Census) -> api.ToSend | None:
    found = opened.to_send.of(device)
    if found is None:
        return None
    sent = opened.to_send.sent_of(device)
    return api.ToSend(found.files, found.bytes, found.others, found.is_part, _percent(found, sent, census), sent)


def _percent(lacking: Lacking, sent: int, census: Census) -> int | None:
    """Returns the share of the volume that a device holds which lacks this, ignored files apart. Less than 100 while
    anything is to go; None where that was not counted to its end, or nothing is there that could be held."""
    if lacking == Lacking():
        return 100
    if lacking.bytes:
        whole, rest = census.bytes - census.ignored_bytes, lacking.bytes - sent
    else:
        whole, rest = census.files - census.ignored, lacking.files
    return None if lacking.is_part or whole <= 0 else min(max(whole - rest, 0) * 100 // whole, 99)


def _seconds_left(missing: int, rate: int) -> int:
    """Returns how long that many bytes take; 0 where none are missing, or nothing but remarks is on its way."""
    return max(missing // rate, 1) if missing > 0 and rate >= _LEAST_RATE else 0


def _arrived(opened: OpenVolume) -> int:
    """Bytes of contents that are being received. Of one that comes from several devices the longest part counts."""
    longest: dict[str, int] = {}
    for part in opened.sync.volume.store.content.parts():
        with suppress(FileNotFoundError):  # it is whole by now
            blob = part.name.partition(".")[0]
            longest[blob] = max(longest.get(blob, 0), part.stat().st_size)
    return sum(longest.values())


def space(state: Path, volumes: Volumes) -> api.SpaceStatus:
    found, opened = os.statvfs(state), volumes.all()
    free, reserve = found.f_bavail * found.f_frsize, FsSettings().reserve_bytes
    since = [noticed for one in opened if (noticed := one.filesystem.refused_since_ms())]
    return api.SpaceStatus(
        free_bytes=free,
        total_bytes=found.f_blocks * found.f_frsize,
        reserve_bytes=reserve,
        refused=free < reserve,
        refused_since_ms=min(since, default=now_ms()) if free < reserve else 0,
        history_max_bytes=volumes.history_budget.limit(),
        history_used_bytes=volumes.history_budget.used(),
    )


def clocks(volumes: Volumes) -> dict[str, int]:
    """Returns how far the clock of each device in reach is ahead of ours, by name."""
    reports = {r.device: r for opened in volumes.all() for r in opened.sync.status().devices}
    found: dict[str, int] = {}
    for device, said in reports.items():
        if said.clock_ahead_ms is not None:
            name = said.name if said.name and said.name not in found else device.hex()[:8]
            found[name] = said.clock_ahead_ms
    return found


def warnings(state: Path, volumes: Volumes, rows: Sequence[VolumeRow]) -> list[str]:
    """Sentences about this machine and these volumes that a person should know of."""
    found = vitals.warnings(state, clocks(volumes))
    wanted = {row.id: row.name for row in rows}
    for opened in volumes.all():
        if opened.id in wanted:
            found += [f"{wanted[opened.id]}: {sentence}" for sentence in opened.sync.status().warnings]
    return found + [f"{row.name}: {volumes.damage[row.id]}" for row in rows if row.id in volumes.damage]


def name_of(device: DeviceId, volumes: Volumes) -> str:
    """Returns what a volume that we share calls a device, else the beginning of its key."""
    around = [opened.sync.members for opened in volumes.all()]
    return next((members.told(device) for members in around if members.name_of(device)), device.hex()[:8])


def shown_skew(ahead_ms: int | None) -> int:
    return ahead_ms if ahead_ms is not None and abs(ahead_ms) > TOLERANCE_MS else 0


def members(opened: OpenVolume, me: DeviceId) -> tuple[api.Member, ...]:
    membership = opened.sync.membership
    found = [
        api.Member(
            device_id=device.hex(),
            name=opened.sync.members.name_of(device),
            role=role,
            is_self=device == me,
            connected=opened.sync.is_connected(device),
            generation=letting(membership.generations.get(device, 0)),
            left=opened.sync.has_left(device),
        )
        for device, role in membership.roles.items()
    ]
    found += [
        api.Member(
            device.hex(),
            opened.sync.members.name_of(device),
            None,
            device == me,
            True,
            False,
            letting(removed.generation),
        )
        for device, removed in membership.removed.items()
        if device not in membership.roles
    ]
    return tuple(sorted(found, key=lambda member: (member.removed, not member.is_self, member.name, member.device_id)))


def invite(row: InviteRow) -> api.InviteSummary:
    return api.InviteSummary(invite_id(row), Role(row.role), max(row.uses_left, 0), row.made_ms, row.expires_ms)


def peers(
    hub: SyncHub, volumes: Volumes, round_trips: Mapping[DeviceId, float] | None = None
) -> tuple[api.PeerSummary, ...]:
    shared: dict[DeviceId, list[str]] = {}
    names: dict[DeviceId, str] = {}
    for opened in volumes.all():
        for device in opened.sync.members.others():
            shared.setdefault(device, []).append(volumes.name_of(opened.id))
            names.setdefault(device, opened.sync.members.name_of(device))
    reached = {status.device: status for status in hub.peer_status()}
    own = hub.describe().addresses
    found = []
    for device, volume_names in shared.items():
        status, traffic = reached.get(device), hub.traffic.told(device)
        online = status is not None and status.online
        found.append(
            api.PeerSummary(
                device_id=device.hex(),
                name=names[device],
                connected=online,
                volumes=tuple(sorted(volume_names)),
                address=_address(status, own) if status is not None and status.online else "",
                last_seen_ms=int((status.last_seen or 0) * 1000) if status is not None else 0,
                explanation=_PAUSED if hub.is_silent_to(device) else _explanation(status),
                path=path_of(status.address) if status is not None and online else "",
                round_trip_us=int((round_trips or {}).get(device, 0) * 1e6),
                sent_bytes=traffic.sent,
                received_bytes=traffic.received,
                sending=traffic.sending.bytes_a_second(),
                receiving=traffic.receiving.bytes_a_second(),
                seconds_left=_seconds_left(_left_for(device, volumes), traffic.sending.bytes_a_second()),
            )
        )
    return tuple(sorted(found, key=lambda peer: (peer.name, peer.device_id)))


def _left_for(device: DeviceId, volumes: Volumes) -> int:
    """Bytes that a device lacks of all volumes, without those that were sent already. 0: unknown, or none."""
    found = [(opened.to_send.of(device), opened.to_send.sent_of(device)) for opened in volumes.all()]
    return sum(lacking.bytes - sent for lacking, sent in found if lacking is not None)


def network(config: NetConfig, endpoint: Endpoint, volumes: Sequence[api.VolumeStatus]) -> api.NetworkStatus:
    receiving = endpoint.traffic.whole.receiving.bytes_a_second()
    missing = sum(volume.content_missing_bytes - volume.content_arrived_bytes for volume in volumes)
    return api.NetworkStatus(
        addresses=tuple(endpoint.addresses()),
        relay=endpoint.relay_url(),
        uses_relays=bool(config.relays) or config.discovery is Discovery.DEFAULT,
        sending=endpoint.traffic.whole.sending.bytes_a_second(),
        receiving=receiving,
        seconds_left=_seconds_left(missing, receiving),
    )


def _address(status: PeerStatus, own: tuple[str, ...]) -> str:
    """The one in use; where the network may not tell of that, one at which the device listens, of a kind as our own."""
    known = (address for address in status.addresses if any(is_meant(mine, address) for mine in own))
    return status.address or next(known, "")


def _explanation(status: PeerStatus | None) -> str:
    if status is None or status.online:
        return ""
    if not status.failures:
        return "It is being dialled."
    error = status.last_error.rstrip(".") or "It cannot be reached"
    return f"{error} (tried {count(status.failures, 'time')}; goes on trying)."
