# SPDX-License-Identifier: GPL-3.0-or-later
"""A member with a program of its own makes files disappear, without a removal: daemons and mounts lose nothing."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from e2e.conftest import LIMIT_S
from e2e.test_hostile_writer import EXPECTED_LOG, Scene, scene
from holofs_peer.v1 import peer_pb2 as pb
from holofsd.codec.records import decode_state, encode_state
from holofsd.core.edit import with_version
from holofsd.core.ids import ROOT_ID, AuthorId, Dot, Hlc, NodeId
from holofsd.core.state import Inline, Kind, Link, NodeState, Place, Register, Removal, Version
from support.device import Device, World
from support.rogue import Author, Session, record
from support.trees import contents, names
from support.wait import until

__all__ = ["scene"]

Lie = Callable[[Author, NodeState], NodeState]
NOWHERE = NodeId(b"no such folder..")
MANY = 120


@pytest.fixture(scope="module")
def honest() -> Iterator[tuple[Device, Device]]:
    """Devices for all tests of this file, which are members of one more volume in each."""
    with World(limit_s=LIMIT_S * 4) as world:
        a, b = world.running("a", "b")
        for device in (a, b):
            device.allowed += EXPECTED_LOG
        yield a, b


def later(author: Author) -> Hlc:
    return author.stamp(60_000)


def linked(author: Author, state: NodeState, place: Place | None) -> NodeState:
    return replace(state, links={id: Link(place, later(author)) for id in state.links})


def without_versions(author: Author, state: NodeState) -> NodeState:
    return replace(state, versions={})


def to_nowhere(author: Author, state: NodeState) -> NodeState:
    return linked(author, state, None)


def shrunk(author: Author, state: NodeState) -> NodeState:
    seen = {id: link.stamp for id, link in state.links.items()}
    return NodeState(state.id, state.kind, state.created_ns, removed=Removal(state.context, seen))


def overwritten(author: Author, state: NodeState) -> NodeState:
    dot, stamp = author.dot(), later(author)
    return with_version(state, Version(dot, stamp, Inline(b"?"), 1, Register(0, stamp), "rogue"), list(state.versions))


async def files_of(scene: Scene, session: Session, expected: Mapping[str, bytes]) -> dict[str, NodeState]:
    """States of these files as the rogue has them, by name; they are inside of nothing, and their contents differ."""
    await asyncio.to_thread(until, lambda: contents(scene.there) == contents(scene.here), "b to have everything")
    wanted = {content: name for name, content in expected.items()}

    def found() -> dict[str, NodeState]:
        states = {}
        for records in list(session.records.values()):
            for key, envelope in list(records.items()):
                state = decode_state(envelope.payload) if len(key) == 16 else None
                for version in state.versions.values() if state is not None else ():
                    if state is not None and isinstance(version.body, Inline) and version.body.data in wanted:
                        states[wanted[version.body.data]] = state
        return states

    await session.until(lambda: len(found()) == len(expected), "the rogue to have heard of the files")
    return found()


async def write(root: Path, files: Mapping[str, bytes]) -> None:
    def all_of_them() -> None:
        for name, content in files.items():
            root.joinpath(name).parent.mkdir(exist_ok=True)
            root.joinpath(name).write_bytes(content)

    await asyncio.to_thread(all_of_them)


async def say(scene: Scene, session: Session, states: list[NodeState]) -> None:
    for start in range(0, len(states), 50):
        await scene.publish(session, [record(state) for state in states[start : start + 50]])
        await scene.accepted(session)


async def both_show(scene: Scene, wanted: Callable[[dict[str, bytes]], bool], what: str) -> None:
    def show() -> bool:
        return contents(scene.here) == contents(scene.there) and wanted(contents(scene.here))

    await asyncio.to_thread(until, show, what)


@pytest.mark.parametrize("lie", ["nowhere", "bad name", "unknown folder", "file", "itself"])
async def test_a_file_without_a_usable_place_stands_in_lost_and_found_and_can_be_moved(scene: Scene, lie: str) -> None:
    await write(scene.here, {"victim": b"of a", "other": b"of a too"})
    session = await scene.session()
    known = await files_of(scene, session, {"victim": b"of a", "other": b"of a too"})
    victim = known["victim"]
    place = {
        "bad name": Place(ROOT_ID, b"../../etc/passwd"),
        "unknown folder": Place(NOWHERE, b"victim"),
        "file": Place(known["other"].id, b"victim"),
        "itself": Place(victim.id, b"victim"),
    }.get(lie)
    await say(scene, session, [linked(scene.writer.author, victim, place)])
    name = "lost+found/victim" if lie not in ("nowhere", "bad name") else f"lost+found/{victim.id.hex()}"
    await both_show(scene, lambda files: files == {name: b"of a", "other": b"of a too"}, "the file in lost+found")

    def moves() -> None:
        scene.there.joinpath(name).rename(scene.there / "again")
        until(lambda: names(scene.here) == names(scene.there) == {"again", "other"}, "it to be moved")
        assert scene.here.joinpath("again").read_bytes() == b"of a"

    await asyncio.to_thread(moves)
    await scene.goes_on()


async def test_a_folder_without_a_place_stands_in_lost_and_found_and_that_stays_where_it_is(scene: Scene) -> None:
    await write(scene.here, {"folder/inside": b"of a"})
    session = await scene.session()
    known = await files_of(scene, session, {"folder/inside": b"of a"})
    (link,) = known["folder/inside"].links.values()
    assert link.place is not None
    folder = next(
        state
        for records in session.records.values()
        for key, envelope in records.items()
        if key == link.place.parent and (state := decode_state(envelope.payload)).kind is Kind.DIRECTORY
    )
    await say(scene, session, [linked(scene.writer.author, folder, None)])
    path = f"lost+found/{folder.id.hex()}/inside"
    await both_show(scene, lambda files: files == {path: b"of a"}, "the folder in lost+found")

    def stays() -> None:
        scene.here.joinpath("elsewhere").mkdir()
        with pytest.raises(OSError, match="busy"):
            scene.here.joinpath("lost+found").rename(scene.here / "elsewhere" / "lost+found")
        scene.here.joinpath(path).parent.rename(scene.here / "folder")
        until(lambda: names(scene.there) == {"folder", "folder/inside", "elsewhere"}, "lost+found to be gone")

    await asyncio.to_thread(stays)


@pytest.mark.parametrize("lie", [without_versions, shrunk], ids=lambda lie: lie.__name__)
async def test_a_file_left_without_versions_is_in_the_trash_and_comes_back(scene: Scene, lie: Lie) -> None:
    await write(scene.here, {"victim": b"of a", "other": b"of a too"})
    session = await scene.session()
    known = await files_of(scene, session, {"victim": b"of a"})
    await say(scene, session, [lie(scene.writer.author, known["victim"])])
    await both_show(scene, lambda files: files == {"other": b"of a too"}, "the file to be gone")

    def comes_back() -> None:
        for device in (scene.a, scene.b):
            (item,) = device.json("trash", "list", scene.volume)
            assert item["path"] == "victim"
            device.ctl("gc", scene.volume, "--now")
        assert scene.b.ctl("history", scene.there / "victim").out
        scene.b.ctl("restore", scene.there / "victim")
        wanted = {"victim": b"of a", "other": b"of a too"}
        until(lambda: contents(scene.here) == contents(scene.there) == wanted, "the file to be back")
        assert scene.a.json("trash", "list", scene.volume) == scene.b.json("trash", "list", scene.volume) == []

    await asyncio.to_thread(comes_back)
    await scene.goes_on()


@pytest.mark.parametrize("lie", [without_versions, to_nowhere, shrunk], ids=lambda lie: lie.__name__)
async def test_many_vanished_files_are_held_like_many_removed_ones(scene: Scene, lie: Lie) -> None:
    files = {f"photos/{number:03}": b"photo %d" % number for number in range(MANY)}
    await write(scene.here, files)
    session = await scene.session()
    known = await files_of(scene, session, files)
    await asyncio.to_thread(until, lambda: _rest(scene), "both to rest")
    await say(scene, session, [lie(scene.writer.author, state) for state in known.values()])

    def held() -> None:
        for device in (scene.a, scene.b):
            until(lambda: _held(device, scene.volume) >= MANY - 50, "the brake to hold them")  # noqa: B023
        scene.a.ctl("brake", scene.volume, "--refuse")
        until(lambda: contents(scene.here) == contents(scene.there) == files, "every file to be back")
        until(lambda: not _held(scene.b, scene.volume), "b to hold nothing any more")

    await asyncio.to_thread(held)
    await scene.goes_on()


def _held(device: Device, volume: str) -> int:
    return int(device.volume_status(volume)["held_files"])


def _rest(scene: Scene) -> bool:
    return scene.a.is_settled(scene.volume) and scene.b.is_settled(scene.volume)


async def test_files_that_a_member_writes_over_come_back_from_the_history_and_status_says_so(scene: Scene) -> None:
    files = {f"letters/{number:03}": b"dear %d" % number for number in range(MANY)}
    await write(scene.here, files)
    session = await scene.session()
    known = await files_of(scene, session, files)
    await asyncio.to_thread(until, lambda: _rest(scene), "both to rest")
    just_after = datetime.now(UTC) + timedelta(seconds=1)  # a version is stamped later than its file on a busy machine
    await asyncio.to_thread(until, lambda: datetime.now(UTC) > just_after, "a time to restore")
    await say(scene, session, [overwritten(scene.writer.author, state) for state in known.values()])
    await both_show(scene, lambda shown: set(shown.values()) == {b"?"}, "the garbage")

    def comes_back() -> None:
        for device, root in ((scene.a, scene.here), (scene.b, scene.there)):
            (warning,) = [text for text in device.status()["warnings"] if "wrote over" in text]
            assert "rogue" in warning
            first, second = device.json("history", root / "letters/000")
            assert (first["size"], second["size"]) == (1, 6)
            device.ctl("gc", scene.volume, "--now")
        for number in range(MANY):
            (version,) = scene.a.json("history", scene.here / f"letters/{number:03}")[1:]
            assert version["size"] == len(b"dear %d" % number)
        scene.b.ctl("restore", scene.there / "letters", "--at", f"{just_after:%Y-%m-%d %H:%M:%S}Z")
        until(lambda: contents(scene.here) == contents(scene.there) == files, "every letter to be back")

    await asyncio.to_thread(comes_back)


async def test_attributes_outside_the_user_namespace_are_nowhere_to_be_seen(scene: Scene) -> None:
    session = await scene.session()
    state = scene.writer.file(b"file", b"content")
    message = pb.NodeRecord.FromString(encode_state(state))
    for name in (b"security.capability", b"trusted.secret", b"system.posix_acl_access", b"user.mine", b"bare", b""):
        xattr = message.xattrs.add(name=name, value=b"\1" * 20)
        xattr.stamp.CopyFrom(message.mode.stamp)
    await scene.publish(session, [(state.id, message.SerializeToString())])
    await scene.accepted(session)
    await both_show(scene, lambda files: files == {"file": b"content"}, "the file")

    def looks() -> None:
        for root in (scene.here, scene.there):
            assert os.listxattr(root / "file") == ["user.mine"]
            with pytest.raises(OSError, match=r"."):
                os.getxattr(root / "file", "security.capability")
        assert scene.a.volume_status(scene.volume)["quarantined"] == 0
        os.setxattr(scene.here / "file", "user.more", b"2")
        until(lambda: os.listxattr(scene.there / "file") == ["user.mine", "user.more"], "the new attribute")

    await asyncio.to_thread(looks)


async def test_a_version_that_nobody_can_have_yet_takes_nothing_away(scene: Scene) -> None:
    await write(scene.here, {"victim": b"of a"})
    session = await scene.session()
    victim = (await files_of(scene, session, {"victim": b"of a"}))["victim"]
    (version,) = victim.versions.values()
    author = AuthorId(version.dot.author)
    beyond = replace(version, dot=Dot(author, 1 << 40))
    await say(scene, session, [replace(victim, context={author: 1 << 40}, versions={beyond.dot: beyond})])
    await scene.goes_on()
    assert await asyncio.to_thread(contents, scene.here) == {"victim": b"of a"}
    assert await asyncio.to_thread(contents, scene.there) == {"victim": b"of a"}
