# SPDX-License-Identifier: GPL-3.0-or-later
"""Bounds of what a run may cost the honest, whatever the liar does: rows and bytes of each table that a peer can grow,
bytes on disk, bytes in memory, turns of the loop, and who is blamed.

The figures are for runs of some dozens of steps. Each is the product's own limit where it has one that a run can reach,
otherwise several times what honest work of that length takes.
"""

from __future__ import annotations

import gc
import sys
import types
from collections.abc import Iterable
from contextvars import Context
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

from holofsd.net.fake import FakeNetwork
from model.device import ModelDevice

MIB = 1 << 20


@dataclass(frozen=True)
class Bound:
    """Bound of one table: at most so many rows, and so many bytes in all its columns."""

    rows: int
    bytes: int


TABLES = {
    # One flood of `unknown_keys` is 400 records of 20 kB; records are kept up to the budget of their author.
    "envelopes": Bound(20_000, 96 * MIB),
    "incoming": Bound(20_000, 64 * MIB),
    "quarantine": Bound(20_000, 4 * MIB),
    "merge_queue": Bound(20_000, 4 * MIB),
    "waiting": Bound(10_000, 4 * MIB),
    "heads": Bound(600, MIB),
    "marks": Bound(100, MIB),
    # The room that all of them have is 2 MiB; of that a dishonest admin fills its own share.
    "credentials": Bound(8_000, 3 * MIB),
    "nodes": Bound(20_000, 64 * MIB),
    "placements": Bound(30_000, 16 * MIB),
    "wanted": Bound(10_000, 4 * MIB),
    "history": Bound(20_000, 64 * MIB),
    "bad_names": Bound(2_000, MIB),
    "overrides": Bound(2_000, MIB),
    "lies": Bound(1_100, MIB),
}
DEVICE_TABLES = {"addresses": Bound(1_000, MIB), "invites": Bound(500, MIB), "redemptions": Bound(500, MIB)}

DISK = 256 * MIB
"""All that a device has on disk for the volume. Honest runs take some 2 MiB."""
MEMORY = 32 * MIB
"""All that the network and sync layers of a device refer to, streams and their buffers included. The members that one
admin can make up, some 1,800, take 23 of them."""
TURNS_PER_STEP = 60_000
TURNS_PER_SECOND = 150
"""Of the loop: for each step of the program, and for each virtual second and device."""


def broken_by(device: ModelDevice, every: Iterable[ModelDevice], network: FakeNetwork) -> list[str]:
    """Tables, disk and memory of one device that are beyond their bounds."""
    problems = _tables(device.name, device.store.db, TABLES)
    problems += _tables(device.name, device.devices.db, DEVICE_TABLES)
    disk = sum(file.stat().st_size for file in device.folder.rglob("*") if file.is_file())
    if disk > DISK:
        problems.append(f"{device.name} has {disk >> 20} MiB on disk, {DISK >> 20} are stated")
    memory = reachable([device.hub, device.endpoint], device, every, network)
    if memory > MEMORY:
        problems.append(f"{device.name} holds {memory >> 20} MiB in memory, {MEMORY >> 20} are stated")
    return problems


def _tables(name: str, db: Any, bounds: dict[str, Bound]) -> list[str]:
    there = {row[0] for row in db.all("SELECT name FROM sqlite_master WHERE type='table'")}
    problems = []
    for table in bounds.keys() & there:
        columns = [row[1] for row in db.all(f"PRAGMA table_info({table})")]
        total = "+".join(f"coalesce(length({column}), 0)" for column in columns)
        ((rows, size),) = db.all(f"SELECT count(*), coalesce(sum({total}), 0) FROM {table}")
        bound = bounds[table]
        if rows > bound.rows or size > bound.bytes:
            problems.append(f"{name} has {rows} rows of {size} bytes in {table}, {bound} is stated")
    return sorted(problems)


_ELSEWHERE = (type, types.ModuleType, types.FunctionType, types.CodeType, types.FrameType, Context, FakeNetwork, Path)


def reachable(roots: Iterable[object], device: ModelDevice, every: Iterable[ModelDevice], network: FakeNetwork) -> int:
    """Bytes of everything that these refer to, in themselves or through others: their own devices' only.

    The loop, modules, classes and the network as a whole are everybody's and count for nobody. The two ends of a
    stream refer to each other.
    """
    foreign = {id(network), id(device.loop), id(device.processes), id(device), id(sys.modules)}
    foreign |= {id(endpoint) for endpoint in network._endpoints.values() if endpoint is not device.endpoint}
    foreign |= {id(part) for other in every if other is not device for part in (other, *vars(other).values())}
    edge: list[object] = list(roots)
    seen = {id(found) for found in edge} | foreign
    total = 0
    while edge:
        total += sum(map(sys.getsizeof, edge))
        found = {id(other): other for other in gc.get_referents(*edge)}
        edge = [other for key, other in found.items() if key not in seen and not isinstance(other, _ELSEWHERE)]
        seen.update(map(id, edge))
    return total


def untellable(device: ModelDevice) -> list[str]:
    """Numbers in the state of a volume that `status` cannot put into its answer."""
    found: list[str] = []
    _look(device.sync.status(), "status", found)
    return [f"{device.name} cannot tell its {what}" for what in found]


def _look(value: object, where: str, found: list[str]) -> None:
    if is_dataclass(value):
        for part in fields(value):
            _look(getattr(value, part.name), f"{where}.{part.name}", found)
    elif isinstance(value, (tuple, list)):
        for item in value:
            _look(item, where, found)
    elif isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
        found.append(f"{where} {value}")


def blamed(device: ModelDevice, honest: Iterable[ModelDevice]) -> list[str]:
    """Honest devices of which this one says that they lied or broke the protocol."""
    names: dict[bytes, str] = {bytes(other.id): other.name for other in honest}
    for other in honest:
        names |= {bytes(author): other.name for author in other.store.own_authors()}
    restored = {bytes(author) for other in honest if other.was_restored for author in other.store.own_authors()}
    counted: dict[str, Iterable[bytes]] = {
        "broke the protocol": device.sync.violations,
        "sent wrong content": device.sync.fetcher.counts.wrong,
        "has two histories": [author for author in device.sync.ingest.counts.forks if author not in restored],
    }
    there = device.store.db.all("SELECT name FROM sqlite_master WHERE name='lies'")
    if there:
        counted["lied"] = [row[0] for row in device.store.db.all("SELECT who FROM lies")]
    return [
        f"{device.name} says of {names[who]} that it {what}"
        for what, who_all in counted.items()
        for who in who_all
        if who in names
    ]
