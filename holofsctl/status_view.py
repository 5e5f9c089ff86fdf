# SPDX-License-Identifier: GPL-3.0-or-later
"""`holofsctl status` for people: one screen that answers "is it safe on another device yet?"."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from holofs_api.shell import shell_word
from holofs_api.v1 import control_pb2 as pb
from holofs_api.words import count
from holofsctl.commands.history import policy_line
from holofsctl.commands.safety import excess_sentence, held_sentence
from holofsctl.commands.volumes import role_here
from holofsctl.devices import told_apart
from holofsctl.output import duration, moment, safe, size, table
from holofsctl.space_view import refusal_lines
from holofsctl.to_send_view import LEAST_RATE, lacks_any, to_send_lines
from holofsctl.traffic_view import is_paused, limit_lines, pause_lines

_LIES_SHOWN_MS: Final = 30 * 86_400_000
"""Age of the last of its kind, from which on a lie is only counted."""

_MOST_SHARES: Final = 4
"""Devices that are named with their part of a rate."""


def status_lines(reply: pb.StatusReply) -> list[str]:
    up = duration(reply.uptime_seconds)
    lines = [f"{safe(reply.device_name)}  (device {reply.device_id[:16]}, {reply.program}, up {up})"]
    lines += [*pause_lines(reply.traffic), *limit_lines(reply.traffic), *_under_way(reply)]
    peers = {peer.device_id: peer for peer in reply.peers}
    for volume in reply.volumes:
        paused = is_paused(reply.traffic, volume.volume.name)
        mounts = [mount for mount in reply.mounts if mount.volume in (volume.volume.name, volume.volume.id)]
        lines += ["", *_volume(volume, mounts, told_apart(volume.devices, reply.device_name), paused, peers)]
    if not reply.volumes:
        lines += [
            "",
            "No volumes yet: `holofsctl create NAME` makes one, `holofsctl join -` reads a ticket and brings one.",
        ]
    if refused := refusal_lines(reply):
        lines += ["", *refused]
    elif reply.space.total_bytes:
        lines += ["", f"Disk: {size(reply.space.free_bytes)} free of {size(reply.space.total_bytes)}."]
    if reply.warnings:
        lines += ["", *(f"Warning: {safe(warning)}" for warning in reply.warnings)]
    return lines


def _under_way(reply: pb.StatusReply) -> list[str]:
    """Rates of now, with each device, and how long it takes at that rate until everything is here; nothing where the
    line is quiet."""
    network, names, told = reply.network, told_apart(reply.peers, reply.device_name), []
    missing = sum(volume.content_missing_bytes - volume.content_arrived_bytes for volume in reply.volumes)
    if network.receiving >= LEAST_RATE:
        left = f"{size(missing)} left, about {duration(network.seconds_left)}" if network.seconds_left else ""
        come = [(peer.receiving, names[peer.device_id]) for peer in reply.peers]
        told.append(f"fetching {_rate(network.receiving, 'from', come, left)}")
    if network.sending >= LEAST_RATE:
        go = [(peer.sending, names[peer.device_id]) for peer in reply.peers]
        told.append(f"sending {_rate(network.sending, 'to', go)}")
    return [f"Now: {', '.join(told)}."] if told else []


def _rate(rate: int, way: str, devices: Iterable[tuple[int, str]], left: str = "") -> str:
    """Rate in all, with the device that it goes to or comes from; of several each with its part, the fastest first."""
    found = sorted(((part, safe(name)) for part, name in devices if part >= LEAST_RATE), reverse=True)
    parts = [f"{size(part)} {way} {name}" for part, name in found[:_MOST_SHARES]] if len(found) > 1 else []
    shares = ", ".join(parts) + (" and others" if len(found) > _MOST_SHARES else "")
    alone = f" {way} {found[0][1]}" if len(found) == 1 else ""
    more = "; ".join(filter(None, (shares, left)))
    return f"{size(rate)} a second{alone}{f' ({more})' if more else ''}"


def _volume(
    status: pb.VolumeStatus,
    mounts: Iterable[pb.MountInfo],
    names: Mapping[str, str],
    paused: bool,
    peers: Mapping[str, pb.Peer],
) -> list[str]:
    volume = status.volume
    role = f"{role_here(volume)}, " if volume.state == "ready" else ""  # else it is not known yet
    lines = [f"{safe(volume.name)}: {role}{volume.state}"]
    if volume.explanation:
        lines.append(f"  {safe(volume.explanation)}")
    if volume.state == "joining":  # nothing is known of it yet
        lines.append("  Its files are on the device that made the invite, and come from there.")
        return lines + [f"  {_mount(mount)}" for mount in mounts]
    if volume.state == "damaged":
        return lines + [f"  {_mount(mount)}" for mount in mounts]
    lines.append(f"  {count(status.files, 'file')}, {size(status.bytes)}")
    lines += [f"  {_ignored(status)}"] if status.ignored else []
    lines += [f"  {_safety(status, names, paused)}", *(f"  {line}" for line in _arriving(status))]
    lines += [f"  {_mount(mount)}" for mount in mounts]
    lines += [
        *_devices(status.devices, names, peers, paused),
        *(f"  {line}" for line in to_send_lines(status, names, peers)),
    ]
    lines += [f"  {_kept(status.history)}"] if status.HasField("history") else []
    lines += [f"  {line}" for line in _troubles(status)]
    return lines


def _safety(status: pb.VolumeStatus, names: Mapping[str, str], paused: bool) -> str:
    here = status.unpublished + status.unsealed
    holders = [names[device.device_id] for device in status.devices if device.complete]
    if holders and not here:
        told = safe(", ".join(holders))
        what = "everything else" if status.ignored else "everything"
        return f"Safe: {what} written here is also on {count(len(holders), 'other device')} ({told})."
    if all(device.left for device in status.devices):
        return f"Only on this device: `holofsctl share {shell_word(status.volume.name)}` invites another one."
    if paused:
        return "Not safe yet: it is paused."
    if here:
        return f"Not safe yet: {count(here, 'changed file')} not sent yet."
    connected = [device for device in status.devices if device.connected]
    if connected:
        return "Not safe yet: on its way to " + safe(", ".join(names[device.device_id] for device in connected)) + "."
    return "Not safe yet: no other device of this volume is connected; it goes on by itself when one is."


def _ignored(status: pb.VolumeStatus) -> str:
    told = f"{count(status.ignored, 'file')} ({size(status.ignored_bytes)})"
    return f"Ignored, so only on this device: {told}, by the rules in .holofsignore."


def _kept(history: pb.HistoryStatus) -> str:
    versions = count(history.versions, "replaced version")
    taken = f"{versions}, {size(history.bytes)}; trash {size(history.trash_bytes)}; at most {size(history.max_bytes)}"
    return f"History: {taken}; {policy_line(history)}."


def _arriving(status: pb.VolumeStatus) -> list[str]:
    lines = []
    if status.records_behind:
        lines.append(f"Receiving: at least {count(status.records_behind, 'change')} on the way.")
    if status.content_missing:
        amount = size(status.content_missing_bytes)
        lines.append(f"Receiving: the content of {count(status.content_missing, 'file')} ({amount}) is not here yet.")
    return lines


def _mount(mount: pb.MountInfo) -> str:
    then = moment(mount.at_ms)
    how = f", as it was at {then}" if mount.at_ms else ", read only" if mount.read_only else ""
    how += {"root": ", open to root", "other": ", open to other users"}.get(mount.allow, "")
    if mount.state == "up":
        return f"Mounted at {safe(mount.path)}{how}."
    return f"Mount at {safe(mount.path)} is {mount.state}{how}. {safe(mount.explanation)}".rstrip()


def _devices(
    devices: Iterable[pb.DeviceSafety], names: Mapping[str, str], peers: Mapping[str, pb.Peer], paused: bool
) -> list[str]:
    rows = []
    for device in devices:
        if device.left:
            holds = "holds nothing of it any more"
        elif device.complete:
            holds = "holds all that was written here" if lacks_any(device) else "holds everything"
        elif device.complete_as_of_ms:
            holds = f"said at {moment(device.complete_as_of_ms)} what it holds"
        else:
            holds = "has not said yet what it holds"
        # `to_send_lines` says more; an earlier daemon gives no figures for them.
        is_all = device.complete or device.left or device.HasField("to_send") or not device.complete_as_of_ms
        behind = f"{device.records_behind:,} behind" if device.records_behind and not is_all else ""
        rows.append(
            (names[device.device_id], _presence(device, peers.get(device.device_id, pb.Peer()), paused), holds, behind)
        )
    return table(rows, indent="    ")


def _presence(device: pb.DeviceSafety, peer: pb.Peer, paused: bool) -> str:
    if device.connected:
        return f"connected {reached}" if (reached := how_reached(peer)) else "connected"
    if device.left:
        return "left"
    if paused:
        return "paused"
    return f"not connected, last seen {moment(peer.last_seen_ms)}" if peer.last_seen_ms else "not connected"


def how_reached(peer: pb.Peer) -> str:
    """Says how a connected device is reached: directly or through a relay, where, and how long an answer takes."""
    if not peer.path:
        return ""
    took = f"{peer.round_trip_us / 1000:.1f} ms" if peer.round_trip_us else "no answer now"
    told = ", ".join(part for part in (safe(peer.address.removeprefix("relay:")), took) if part)
    return f"{'through a relay' if peer.path == 'relay' else 'directly'} ({told})"


def _troubles(status: pb.VolumeStatus) -> list[str]:
    lines, word = [], shell_word(status.volume.name)
    if status.held_files or status.held_directories:
        lines.append(f"{held_sentence(status)} `holofsctl brake {word}` shows what, and how to decide.")
    lines += [excess_sentence(records, status.volume.name) for records in status.record_budgets if records.excess]
    if status.damaged:
        lines.append(f"{count(status.damaged, 'content file')} damaged here and not whole again yet.")
    if status.conflicts:
        lines.append(f"{count(status.conflicts, 'conflict')}: `holofsctl conflicts {word}` lists them.")
    if status.pending:
        lines.append(f"{count(status.pending, 'item')} waiting for the folder that holds them.")
    if status.quarantined:
        why = "; ".join(status.quarantine_reasons)
        lines.append(f"{count(status.quarantined, 'record')} refused{f' ({safe(why)})' if why else ''}.")
    lines += [_unavailable(found) for found in status.unavailable]
    return lines + _lies(status.lies)


def _unavailable(found: pb.Unavailable) -> str:
    path = safe(found.path or "a file without a name")
    who = safe(found.name or found.device_id[:8] or "a device that is not known")
    return f"Not here: {path} ({size(found.size)}, written by {who}): {safe(found.why)}."


def _lies(lies: Sequence[pb.Lie]) -> list[str]:
    since_ms = time.time() * 1000 - _LIES_SHOWN_MS
    older = [lie for lie in lies if lie.last_ms < since_ms]
    lines = [_lie(lie) for lie in lies if lie.last_ms >= since_ms]
    if older:
        told = count(sum(lie.number for lie in older), "untrue statement")
        last = moment(max(lie.last_ms for lie in older))
        lines.append(f"Long ago: {told} of members, the last at {last}; all refused (--json lists them).")
    return lines


def _lie(lie: pb.Lie) -> str:
    who = safe(lie.name or lie.device_id[:8] or "A device")
    example = f"; the last one: {safe(lie.example)}" if lie.example else ""
    times = f"{count(lie.number, 'time')}, last at {moment(lie.last_ms)}"
    return f"Untrue: {who} {safe(lie.what)} ({times}{example}). It was refused."
