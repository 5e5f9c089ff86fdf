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
from holofsd.rpc.device_api import DeviceSafety, VolumeStatus

T = TypeVar("T")

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
    Family("holofs_network_sent_bytes_total", "Sent to other devices.", lambda s: s.sent, is_counter=True),
    Family("holofs_network_received_bytes_total", "Received from them.", lambda s: s.received, is_counter=True),
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
        "holofs_device_clock_ahead_seconds",
        "How far its clock is ahead of ours, if the difference matters.",
        lambda d: d.clock_ahead_ms / 1000 if d.connected else None,
    ),
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
        for name, device in _named(_others(volume)):
            yield from _sample(family, device, (label(volume.volume.name), name))


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


def _named(devices: Iterable[DeviceSafety]) -> Iterator[tuple[str, DeviceSafety]]:
    """Each with a value for the label `device` that no other has: two equal series would spoil the whole answer. Those
    that were met last come first, so that devices which never came do not take the place of others."""
    found = sorted(devices, key=lambda device: (not device.connected, -device.complete_as_of_ms, device.device_id))
    times = Counter(device.name for device in found)
    taken: set[str] = set()
    for device in found[:MOST_DEVICES]:
        told = next(told for told in _ways_to_name(device, times[device.name] == 1) if told not in taken)
        taken.add(told)
        yield told, device


def _ways_to_name(device: DeviceSafety, is_only_one: bool) -> Iterator[str]:
    """Gives names as commands show them, then the whole id. What others call themselves may look like any of it."""
    if device.name and is_only_one:
        yield label(device.name)
    if device.name:
        yield label(f"{device.name} ({device.device_id[:8]})")
    yield device.device_id
    yield from (f"{device.device_id} {number}" for number in itertools.count(2))
