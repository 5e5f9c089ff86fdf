# SPDX-License-Identifier: GPL-3.0-or-later
"""A writer that gives other content to a version of somebody else, or makes a folder of a file: nothing of it is shown,
nothing is lost, history, trash and garbage collection go on, and `status` says who it was."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from e2e.conftest import FAILED, LIMIT_S
from e2e.test_hostile_writer import EXPECTED_LOG, NUMBERS, Scene, _shared
from holofsd.codec.content import hash_bytes
from holofsd.codec.records import decode_state
from holofsd.codec.ticket import decode_ticket
from holofsd.core.ids import NodeId
from holofsd.core.state import Blob, Inline, Kind, NodeState
from support.device import Device, World
from support.rogue import Session, record, rogue
from support.trees import contents
from support.wait import until

LARGE = os.urandom(300_000)
FILES = {"small": b"by a", "large": LARGE, "folder/inside": b"also by a"}


@pytest.fixture(scope="module")
def honest() -> Iterator[tuple[Device, Device]]:
    with World(limit_s=LIMIT_S * 3) as world:
        a, b = world.running("a", "b")
        for device in (a, b):
            device.allowed += EXPECTED_LOG
        yield a, b


@pytest.fixture
async def scene(honest: tuple[Device, Device], request: pytest.FixtureRequest) -> AsyncIterator[Scene]:
    """Scene as in `test_hostile_writer`, with files of A that all devices have."""
    a, b = honest
    volume = f"docs{next(NUMBERS)}"
    here, there = await asyncio.to_thread(_shared, a, b, volume)
    await asyncio.to_thread(_write, here, there)
    async with rogue() as writer:
        ticket = a.share(volume)
        await writer.redeem(ticket)
        invite = decode_ticket(ticket)
        writer.certify(invite.volume)
        yield Scene(a, b, here, there, volume, writer, invite)
    if request.node.stash.get(FAILED, False):
        print(a.world.logs())
    for device, path in ((a, here), (b, there)):
        await asyncio.to_thread(device.ctl, "unmount", "--force", path)  # whoever still looks at it


def _write(here: Path, there: Path) -> None:
    (here / "folder").mkdir()
    for name, content in FILES.items():
        (here / name).write_bytes(content)
    until(lambda: contents(there) == FILES, "b to have all")


async def known(session: Session, count: int) -> dict[bytes, NodeState]:
    """The states of nodes by their first name, once as many were sent to the rogue."""

    def states() -> dict[bytes, NodeState]:
        found = {}
        for records in session.records.values():
            for key, envelope in records.items():
                if len(key) == 16:
                    state = decode_state(envelope.payload)
                    found.update({link.place.name: state for link in state.links.values() if link.place})
        return found

    await session.until(lambda: len(states()) >= count, "what the others have written")
    return states()


def forged(state: NodeState, content: bytes, inline: bool) -> NodeState:
    """The same versions a moment later, with other content."""
    body = Inline(content) if inline else Blob(hash_bytes(content))
    changed = {
        dot: replace(v, body=body, size=len(content), stamp=replace(v.stamp, wall_ms=v.stamp.wall_ms + 1))
        for dot, v in state.versions.items()
    }
    return replace(state, versions=changed)


def lies(device: Device, volume: str) -> dict[str, int]:
    found: list[dict[str, Any]] = device.volume_status(volume)["lies"]
    assert {lie["name"] for lie in found} <= {"rogue"}
    return {lie["what"]: int(lie["number"]) for lie in found}


async def caught(scene: Scene, number: int) -> None:
    for device in (scene.a, scene.b):
        await asyncio.to_thread(
            until, lambda device=device: sum(lies(device, scene.volume).values()) >= number, "the liar to be named"
        )


def _all_is_well(scene: Scene) -> None:
    """Both show what A wrote, and the garbage collection goes on."""
    for device, root in ((scene.a, scene.here), (scene.b, scene.there)):
        device.ctl("gc", scene.volume, "--now")
        assert contents(root) == FILES
    assert "Untrue: rogue " in scene.b.ctl("status", scene.volume).out


def _history_and_trash_are_right(scene: Scene) -> None:
    """Also of what is edited and removed now, by the device that did not write it."""
    (only,) = scene.b.json("history", scene.there / "large")
    assert (only["device"], only["size"], only["shown"]) == ("a", len(LARGE), True)
    assert scene.a.json("trash", "list", scene.volume) == []
    (scene.there / "large").write_bytes(b"edited by b")
    (scene.there / "small").unlink()
    until(lambda: contents(scene.here) == {"large": b"edited by b", "folder/inside": b"also by a"}, "a to see both")
    scene.a.ctl("gc", scene.volume, "--now")
    old = scene.a.json("history", scene.here / "large")[1]
    assert (old["device"], old["size"], old["here"]) == ("a", len(LARGE), True)
    scene.a.ctl("restore", scene.here / "large", "--version", old["id"])
    scene.a.ctl("trash", "restore", f"{scene.volume}:small")
    until(lambda: contents(scene.here) == contents(scene.there) == FILES, "what was restored")


async def test_a_version_keeps_the_content_that_its_author_gave_it(scene: Scene) -> None:
    session = await scene.session()
    states = await known(session, 4)
    other = os.urandom(len(LARGE))
    scene.writer.blobs[hash_bytes(other)] = other
    small = forged(states[b"small"], b"forged!", True)
    unsealed = {dot: replace(version, seal=b"") for dot, version in small.versions.items()}
    said = [replace(small, versions=unsealed), forged(states[b"large"], other, False)]
    await scene.publish(session, [record(state) for state in said])
    await caught(scene, 2)
    assert lies(scene.a, scene.volume) == {"gave other content to a version of another device": 2}
    assert lies(scene.b, scene.volume) == lies(scene.a, scene.volume)
    await asyncio.to_thread(_all_is_well, scene)
    await asyncio.to_thread(_history_and_trash_are_right, scene)


async def test_no_record_makes_something_else_of_a_file_or_folder(scene: Scene) -> None:
    session = await scene.session()
    states = await known(session, 4)
    flipped = [
        NodeState(states[name].id, kind, 0)
        for name, kind in ((b"small", Kind.DIRECTORY), (b"large", Kind.SYMLINK), (b"folder", Kind.FILE))
    ]
    taken = scene.writer.file(b"folder", b"a file")
    flipped.append(replace(taken, id=states[b"inside"].id, kind=Kind.DIRECTORY, versions={}, context={}))
    await scene.publish(session, [record(state) for state in flipped])
    await caught(scene, 4)
    assert lies(scene.b, scene.volume) == {"made something else of a file, folder or symlink": 4}
    await asyncio.to_thread(_all_is_well, scene)
    assert await scene.quarantined(scene.a) == 4


async def test_a_page_of_folders_in_place_of_a_hundred_files_changes_none(scene: Scene) -> None:
    def write() -> None:
        (scene.here / ".git").mkdir()
        for number in range(120):
            (scene.here / ".git" / f"{number}").write_bytes(b"%d" % number)
        until(lambda: contents(scene.there) == contents(scene.here), "b to have all")

    await asyncio.to_thread(write)
    before = await asyncio.to_thread(contents, scene.here)
    session = await scene.session()
    states = await known(session, 4 + 121)
    nodes = [states[b"%d" % number].id for number in range(120)] + [states[b".git"].id]
    kinds = [Kind.DIRECTORY] * 120 + [Kind.FILE]
    await scene.publish(session, [record(NodeState(NodeId(n), k, 0)) for n, k in zip(nodes, kinds, strict=True)])
    await caught(scene, 121)
    assert await asyncio.to_thread(contents, scene.here) == before
    assert await asyncio.to_thread(contents, scene.there) == before

    def goes_on() -> None:
        (scene.there / ".git" / "7").write_bytes(b"edited")
        until(lambda: (scene.here / ".git" / "7").read_bytes() == b"edited", "the edit to reach a")
        scene.a.ctl("gc", scene.volume, "--now")

    await asyncio.to_thread(goes_on)
