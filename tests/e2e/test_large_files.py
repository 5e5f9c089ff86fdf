# SPDX-License-Identifier: GPL-3.0-or-later
"""Large files in chunks between real daemons and mounts: from two devices, through kills, damage and repair."""

from __future__ import annotations

import os
from pathlib import Path

from support.device import Device, World
from support.trees import contents
from support.wait import until

FILM = os.urandom(24_000_000)


def segments(device: Device) -> list[Path]:
    return sorted(device.state.glob("volumes/*/segments/*/*"))


def ready(world: World, *names: str) -> list[Device]:
    """Devices that write large content in chunks, each of which knows of the others that they read it."""
    found = [world.device(name) for name in names]
    for device in found:
        device.environment["HOLOFS_LISTS"] = "1"
        device.up()
    first, *others = found
    first.create()
    for other in others:
        other.join(first.share())
    until(lambda: all(_met(device) == len(others) for device in found), "all to have met")
    return found


def _met(device: Device) -> int:
    return sum(peer["connected"] for peer in device.json("peers"))


def test_a_large_file_reaches_other_devices_in_chunks_and_is_what_it_was(world: World) -> None:
    a, b, c = ready(world, "a", "b", "c")
    here, there = a.mount(), b.mount()
    (here / "film").write_bytes(FILM)
    until(lambda: contents(there) == {"film": FILM}, "b to have the film")
    assert segments(a)
    assert segments(b)
    far = c.mount()
    until(lambda: contents(far) == {"film": FILM}, "c to have it")
    a.down()
    changed = FILM[:10_000_000] + b"changed" + FILM[10_000_007:]
    with (there / "film").open("r+b") as file:
        file.seek(10_000_000)
        file.write(b"changed")
    until(lambda: contents(far) == {"film": changed}, "c to have what b changed")
    assert b.json("fsck", "docs", "--content")["volumes"][0]["findings"] == []


def test_a_killed_device_goes_on_where_it_was(world: World) -> None:
    a, b = ready(world, "a", "b")
    here, there = a.mount(), b.mount()
    b.kill9_daemon()
    (here / "film").write_bytes(FILM)
    until(lambda: bool(segments(a)), "a to have cut the film")
    for point in ("spans.listed=kill", "spans.written=kill@5", "spans.known=kill"):
        b.begin_daemon(HOLOFS_FAULTS=point)
        assert b.ended_within(30), f"{point} was not reached"
    b.start_daemon()
    until(lambda: contents(there) == {"film": FILM}, "b to have the film")


def test_a_damaged_chunk_is_fetched_again(world: World) -> None:
    a, b = ready(world, "a", "b")
    b.allowed += ["chunks of content, or its list, are damaged or gone"]
    here, there = a.mount(), b.mount()
    (here / "film").write_bytes(FILM)
    until(lambda: contents(there) == {"film": FILM}, "b to have the film")
    (segment,) = segments(b)
    with segment.open("r+b") as file:
        file.seek(5_000_000)
        file.write(b"damaged")
    (told,) = b.json("scrub", "docs")
    assert told["damaged"] == 1
    until(lambda: contents(there) == {"film": FILM}, "the film to be whole")
