# SPDX-License-Identifier: GPL-3.0-or-later
"""Table of what is exported: name, type, labels, meaning, and where the figure comes from. Pure.

Names are a promise to dashboards and alerts: they are added to, and never changed. docs/metrics.md has a row for each.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from holofsd.daemon.metrics.snapshot import Snapshot
from holofsd.rpc.device_api import DeviceSafety, PeerSummary, VolumeStatus
from holofsd.rpc.traffic_api import PauseInfo

T = TypeVar("T")
D = TypeVar("D", DeviceSafety, PeerSummary)

MOST_DEVICES: Final = 100
"""Other devices of one volume that get series of their own. A member can let in very many (docs/threats.md)."""
MOST_LABEL: Final = 128
"""Characters of a label's value."""
VOLUME_STATES: Final = ("ready", "joining", "damaged")
MOUNT_STATES: Final = ("up", "starting", "down")

Sample = tuple[tuple[str, ...], float]
"""Values of the labels, and the figure."""


@dataclass(frozen=True, slots=True)
class Family(Generic[T]):
    """One metric. `figure` gives nothing where there is no figure."""

    name: str
    text: str
    figure: Callable[[T], float | None]
    is_counter: bool = False


DEVICE: Final[Sequence[Family[Snapshot]]] = (
    Family("holofs_disk_free_bytes", "Free on the disk of the state directory.", lambda s: s.space.free_bytes),
    Family("holofs_disk_size_bytes", "Size of that disk.", lambda s: s.space.total_bytes),
    Family(
        "holofs_disk_reserve_bytes", "Writing is refused with less than this free.", lambda s: s.space.reserve_bytes
    ),
    Family("holofs_writing_refused", "1 while writing is refused for want of room.", lambda s: s.space.refused),
    Family(
        "holofs_history_used_bytes",
        "Taken by history and trash of volumes without a size of their own.",
        lambda s: s.space.history_used_bytes,
    ),
    Family("holofs_history_max_bytes", "What they may take.", lambda s: s.space.history_max_bytes),
    Family("holofs_snapshot_seconds", "Time of the loop that gathering these figures took.", lambda s: s.seconds),
    Family(
        "holofs_network_sent_bytes_total", "Sent to other devices.", lambda s: s.traffic.sent_bytes, is_counter=True
    ),
    Family(
        "holofs_network_received_bytes_total",
        "Received from them.",
        lambda s: s.traffic.received_bytes,
        is_counter=True,
    ),
    Family("holofs_paused", "1 while all traffic is paused.", lambda s: _is_paused(_pause_of_all(s))),
    Family(
        "holofs_paused_until_timestamp_seconds",
        "When that pause ends by itself.",
        lambda s: _until(_pause_of_all(s)),
    ),
    Family(
        "holofs_background_waits",
        "1 while content that no program reads waits for a network that is not metered.",
        lambda s: s.traffic.background_waits,
    ),
)

VOLUME: Final[Sequence[Family[VolumeStatus]]] = (
    Family("holofs_volume_files", "Files in the volume.", lambda v: v.files),
    Family("holofs_volume_size_bytes", "Size of all of them.", lambda v: v.bytes),
    Family(
        "holofs_volume_unpublished", "Changed files and folders that no device was told of.", lambda v: v.unpublished
    ),
    Family("holofs_volume_unfinalized_files", "Written files that are not yet a version.", lambda v: v.unsealed),
    Family("holofs_volume_records_behind", "Records that are on their way here.", lambda v: v.records_behind),
    Family("holofs_volume_pending", "Files and folders whose folder has not arrived.", lambda v: v.pending),
    Family("holofs_volume_missing_blobs", "Contents that are not here yet.", lambda v: v.content_missing),
    Family("holofs_volume_missing_bytes", "Size of those contents.", lambda v: v.content_missing_bytes),
    Family("holofs_volume_conflicts", "Conflict copies.", lambda v: v.conflicts),
    Family("holofs_volume_quarantined_records", "Records refused or not understood.", lambda v: v.quarantined),
    Family("holofs_volume_held_files", "Removed elsewhere, and kept by the brake.", lambda v: v.held_files),
    Family("holofs_volume_held_directories", "Folders that the brake keeps likewise.", lambda v: v.held_directories),
    Family("holofs_volume_damaged_files", "Content files found damaged, and not whole again.", lambda v: v.damaged),
    Family(
        "holofs_volume_lies", "Statements of members that cannot be true.", lambda v: sum(lie.number for lie in v.lies)
    ),
    Family(
        "holofs_volume_history_bytes", "Taken by replaced versions.", lambda v: v.history.bytes if v.history else None
    ),
    Family(
        "holofs_volume_trash_bytes",
        "Taken by what was removed.",
        lambda v: v.history.trash_bytes if v.history else None,
    ),
    Family(
        "holofs_volume_garbage_bytes",
        "Content that nothing needs, in its day of grace.",
        lambda v: v.history.garbage_bytes if v.history else None,
    ),
    Family("holofs_volume_devices", "Other devices that have the volume.", lambda v: len(_others(v))),
    Family(
        "holofs_volume_complete_devices",
        "Those that say that they hold everything written here.",
        lambda v: sum(device.complete for device in _others(v)),
    ),
)

OTHER: Final[Sequence[Family[DeviceSafety]]] = (
    Family("holofs_device_connected", "1 while the other device is connected.", lambda d: d.connected),
    Family("holofs_device_complete", "1 if it says that it holds everything written here.", lambda d: d.complete),
    Family(
        "holofs_device_complete_timestamp_seconds",
        "When it last said what it holds, by its clock.",
        lambda d: d.complete_as_of_ms / 1000 if d.complete_as_of_ms else None,
    ),
    Family("holofs_device_records_behind", "Records of this device that it lacks.", lambda d: d.records_behind),
    Family(
        "holofs_device_lacking_files",
        "Files whose newest form it does not say that it holds.",
        lambda d: d.to_send.files if d.to_send is not None else None,
    ),
    Family(
        "holofs_device_lacking_bytes",
        "Size of those of them whose content it lacks.",
        lambda d: d.to_send.bytes if d.to_send is not None else None,
    ),
    Family(
        "holofs_device_clock_ahead_seconds",
        "How far its clock is ahead of ours, if the difference matters.",
        lambda d: d.clock_ahead_ms / 1000 if d.connected else None,
    ),
)
PAUSED_VOLUME: Final[Sequence[Family[PauseInfo | None]]] = (
    Family("holofs_volume_paused", "1 while the volume itself is paused.", lambda p: _is_paused(p)),
    Family("holofs_volume_paused_until_timestamp_seconds", "When that pause ends by itself.", lambda p: _until(p)),
)
PAUSED_DEVICE: Final[Sequence[Family[PauseInfo | None]]] = (
    Family("holofs_device_paused", "1 while the traffic with the device itself is paused.", lambda p: _is_paused(p)),
    Family("holofs_device_paused_until_timestamp_seconds", "When that pause ends by itself.", lambda p: _until(p)),
)
PEER: Final[Sequence[Family[PeerSummary]]] = (
    Family("holofs_device_sent_bytes_total", "Sent to the device.", lambda p: p.sent_bytes, is_counter=True),
    Family(
        "holofs_device_received_bytes_total", "Received from the device.", lambda p: p.received_bytes, is_counter=True
    ),
    Family(
        "holofs_device_left_seconds",
        "How long it takes at the rate of now until the device has what it lacks.",
        lambda p: p.seconds_left or None,
    ),
)
LIMITS: Final[Family[Snapshot]] = Family(
    "holofs_limit_bytes_per_second", "Limit in force; no value where there is none.", lambda s: s.traffic.up or None
)
VOLUME_STATE: Final[Family[VolumeStatus]] = Family(
    "holofs_volume_state", "1 for the state that the volume is in.", lambda v: 1
)
MOUNTS: Final[Family[Snapshot]] = Family("holofs_mounts", "Mounts by their state.", lambda s: len(s.mounts))


def device_samples(family: Family[Snapshot], snapshot: Snapshot) -> Iterator[Sample]:
    yield from _sample(family, snapshot, ())


def volume_samples(family: Family[VolumeStatus], snapshot: Snapshot) -> Iterator[Sample]:
    """Figures of volumes in use. Nothing is known of others, and 0 would be a statement."""
    for volume in snapshot.volumes:
        if volume.volume.state == "ready":
            yield from _sample(family, volume, (label(volume.volume.name),))


def other_samples(family: Family[DeviceSafety], snapshot: Snapshot) -> Iterator[Sample]:
    for volume in snapshot.volumes:
        for name, device in _named(_others(volume), lambda device: device.complete_as_of_ms):
            yield from _sample(family, device, (label(volume.volume.name), name))


def paused_volume_samples(family: Family[PauseInfo | None], snapshot: Snapshot) -> Iterator[Sample]:
    paused = {pause.volume: pause for pause in snapshot.traffic.pauses if pause.volume}
    for volume in snapshot.volumes:
        if volume.volume.state == "ready":
            yield from _sample(family, paused.get(volume.volume.name), (label(volume.volume.name),))


def paused_device_samples(family: Family[PauseInfo | None], snapshot: Snapshot) -> Iterator[Sample]:
    paused = {pause.device_id: pause for pause in snapshot.traffic.pauses if pause.device_id}
    for name, peer in _named(snapshot.peers, lambda peer: peer.last_seen_ms):
        yield from _sample(family, paused.get(peer.device_id), (name,))


def peer_samples(family: Family[PeerSummary], snapshot: Snapshot) -> Iterator[Sample]:
    for name, peer in _named(snapshot.peers, lambda peer: peer.last_seen_ms):
        yield from _sample(family, peer, (name,))


def limit_samples(snapshot: Snapshot) -> Iterator[Sample]:
    """A limit of 0 would be a statement, and the opposite of the truth."""
    for direction, limit in (("sending", snapshot.traffic.up), ("fetching", snapshot.traffic.down)):
        if limit:
            yield (direction,), float(limit)


def _pause_of_all(snapshot: Snapshot) -> PauseInfo | None:
    return next((pause for pause in snapshot.traffic.pauses if not pause.volume and not pause.device_id), None)


def _is_paused(pause: PauseInfo | None) -> float:
    return float(pause is not None)


def _until(pause: PauseInfo | None) -> float | None:
    return pause.until_ms / 1000 if pause is not None and pause.until_ms else None


def state_samples(snapshot: Snapshot) -> Iterator[Sample]:
    for volume in snapshot.volumes:
        for state in VOLUME_STATES:
            yield (label(volume.volume.name), state), float(volume.volume.state == state)


def mount_samples(snapshot: Snapshot) -> Iterator[Sample]:
    for state in MOUNT_STATES:
        yield (state,), float(snapshot.mounts.count(state))


def _sample(family: Family[T], subject: T, labels: tuple[str, ...]) -> Iterator[Sample]:
    if (figure := family.figure(subject)) is not None:
        yield labels, float(figure)


def label(text: str) -> str:
    """Names of others are one line of visible characters already; here they get short, and encodable."""
    return text.encode(errors="backslashreplace").decode()[:MOST_LABEL]


def _others(volume: VolumeStatus) -> list[DeviceSafety]:
    """Lists the devices that have the volume: those that left hold it no more."""
    return [device for device in volume.devices if not device.left]


def _named(devices: Iterable[D], met_ms: Callable[[D], int]) -> Iterator[tuple[str, D]]:
    """Each with a value for the label `device` that no other has: two equal series would spoil the whole answer. Those
    that were met last come first, so that devices which never came do not take the place of others."""
    found = sorted(devices, key=lambda device: (not device.connected, -met_ms(device), device.device_id))
    times = Counter(device.name for device in found)
    taken: set[str] = set()
    for device in found[:MOST_DEVICES]:
        told = next(told for told in _ways_to_name(device, times[device.name] == 1) if told not in taken)
        taken.add(told)
        yield told, device


def _ways_to_name(device: DeviceSafety | PeerSummary, is_only_one: bool) -> Iterator[str]:
    """Gives names as commands show them, then the whole id. What others call themselves may look like any of it."""
    if device.name and is_only_one:
        yield label(device.name)
    if device.name:
        yield label(f"{device.name} ({device.device_id[:8]})")
    yield device.device_id
    yield from (f"{device.device_id} {number}" for number in itertools.count(2))
