# SPDX-License-Identifier: GPL-3.0-or-later
"""Scenes that reach each fault point: a scene arms it, does the work during which it lies, and brings everybody back
up.

A scene returns whether somebody died there. Afterwards the work is done once more where a person would do it, and what
it was about has to be there.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from campaigns.victim import Victim
from holofs_api.v1 import control_pb2 as pb
from holofsd.codec.content import hash_bytes
from support.wait import until

REACH_S = 10.0
"""For a point that work in the background reaches."""
BESIDE = "beside"
"""A second volume, shared by both and mounted by the first device, for what would be in the way of writers."""


@dataclass
class Stage:
    """Two devices, and what chance decides about them."""

    a: Victim
    b: Victim
    chance: random.Random
    at_work: Callable[[], None]
    at_rest: Callable[[], None]
    beside: Path | None = None
    _number: int = 0

    def name(self, kind: str) -> str:
        self._number += 1
        return f"{kind}-{self._number}"

    def either(self) -> Victim:
        return self.chance.choice((self.a, self.b))


def while_writing(stage: Stage, point: str) -> bool:
    victim = stage.either()
    stage.at_work()
    try:
        victim.arm(point, stage.chance.choice((1, 1, 2, 5)))
        died = victim.died_within(REACH_S)
        victim.restart()
    finally:
        stage.at_rest()
    return died


def while_catching_up(stage: Stage, point: str) -> bool:
    stage.b.kill_daemon()
    stage.a.team.call("write_much")
    stage.b.arm(point)
    stage.b.begin()
    return _dies_and_returns(stage.b)


def while_sealing(stage: Stage, point: str) -> bool:
    stage.a.arm(point)
    stage.a.team.call("write_large")
    return _dies_and_returns(stage.a)


def while_bringing_chunks(stage: Stage, point: str) -> bool:
    stage.b.kill_daemon()
    stage.a.team.call("write_large")
    stage.b.arm(point)
    stage.b.begin()
    return _dies_and_returns(stage.b)


def at_the_start(stage: Stage, point: str) -> bool:
    """A state directory without its fingerprint may be a copy: it takes a new author."""
    stage.at_work()
    try:
        stage.b.kill_daemon()
        (stage.b.state / "fingerprint.json").unlink(missing_ok=True)
        stage.b.arm(point)
        stage.b.begin()
        return _dies_and_returns(stage.b)
    finally:
        stage.at_rest()


def starting(stage: Stage, point: str) -> bool:
    """Each start looks at the folder first."""
    victim = stage.either()
    victim.kill_daemon()
    victim.arm(point)
    victim.begin()
    return _dies_and_returns(victim)


def rekeying(stage: Stage, point: str) -> bool:
    """Change the key of a copy of the state directory, and again after the death."""
    copy = stage.b.device.home / stage.name("copy")
    copy.mkdir(mode=0o700)
    for path in stage.b.state.iterdir():
        if path.is_file() and path.name != "lock":
            shutil.copy2(path, copy)
    before = (copy / "device.key").read_bytes()
    died = _change_key(copy, point) == -signal.SIGKILL
    changed = (copy / "device.key").read_bytes() != before
    assert not died or changed == (point == "rekeying.changed")
    assert (copy / "device.key.former-1").read_bytes() == before
    assert _change_key(copy) == 0
    shutil.rmtree(copy)
    return died


def _change_key(state: Path, point: str = "") -> int:
    command = [sys.executable, "-m", "holofsd.daemon.new_key_main", "--state-dir", str(state)]
    return subprocess.run(
        command,
        env={**os.environ, "HOLOFS_FAULTS": f"{point}=kill" if point else ""},
        stdout=subprocess.DEVNULL,
        timeout=60.0,
        check=False,
    ).returncode


def _dies_and_returns(victim: Victim, seconds: float = REACH_S) -> bool:
    died = victim.died_within(seconds)
    victim.restart()
    return died


def mounting(stage: Stage, point: str) -> bool:
    victim = stage.either()
    path = victim.device.home / stage.name("mnt")
    path.mkdir()
    order = pb.MountRequest(volume="docs", path=str(path))
    victim.arm(point)
    with victim.meanwhile(lambda: victim.ask("Mount", order)):
        died = _dies_and_returns(victim)
    until(lambda: victim.team.call("is_back_at", path), f"the mount at {path} to be brought up")
    victim.team.call("check", path)
    victim.ask("Unmount", pb.UnmountRequest(path=str(path)))
    path.rmdir()
    return died


def creating(stage: Stage, point: str) -> bool:
    victim, name = stage.either(), stage.name("new")
    victim.arm(point)
    with victim.meanwhile(lambda: victim.ask("CreateVolume", pb.CreateVolumeRequest(name=name))):
        died = _dies_and_returns(victim)
    if victim.volume(name) is None:
        victim.ask("CreateVolume", pb.CreateVolumeRequest(name=name))
    assert victim.volume(name).volume.state == "ready"
    _leave(victim, name)
    return died


def leaving(stage: Stage, point: str) -> bool:
    victim, name = stage.either(), stage.name("old")
    victim.ask("CreateVolume", pb.CreateVolumeRequest(name=name))
    order = pb.LeaveRequest(volume=name, delete=stage.chance.random() < 0.5)
    victim.arm(point)
    with victim.meanwhile(lambda: victim.ask("Leave", order)):
        died = _dies_and_returns(victim)
    if victim.volume(name) is not None:
        _leave(victim, name)
    assert victim.volume(name) is None
    return died


def _leave(victim: Victim, name: str) -> None:
    victim.ask("Leave", pb.LeaveRequest(volume=name, delete=True))


def joining(stage: Stage, point: str) -> bool:
    name = stage.name("shared")
    stage.a.ask("CreateVolume", pb.CreateVolumeRequest(name=name))
    ticket = stage.a.ask("Share", pb.ShareRequest(volume=name, role=pb.ROLE_WRITER, uses=1)).ticket
    victim = stage.a if point == "joining.granted" else stage.b
    victim.arm(point)
    with stage.b.meanwhile(lambda: stage.b.stream("Join", pb.JoinRequest(ticket=ticket))):
        died = _dies_and_returns(victim)
    if stage.b.volume(name) is None:
        with stage.b.meanwhile(lambda: stage.b.stream("Join", pb.JoinRequest(ticket=ticket))):
            pass
    until(lambda: stage.b.volume(name).volume.state == "ready", f"b to have joined {name}")
    _leave(stage.b, name)
    # The only admin may leave once somebody could become one by that code.
    stage.a.ask("Recovery", pb.RecoveryRequest(volume=name, forget=True))
    _leave(stage.a, name)
    return died


def collecting(stage: Stage, point: str) -> bool:
    rubbish = stage.a.root / stage.name("rubbish")
    rubbish.write_bytes(stage.chance.randbytes(20_000))
    until(lambda: not stage.a.volume().unsealed, "the rubbish to be hashed")
    rubbish.unlink()
    stage.a.ask("EmptyTrash", pb.EmptyTrashRequest(volume="docs"))
    order = pb.CollectGarbageRequest(volume="docs", now=True)
    stage.a.arm(point)
    with stage.a.meanwhile(lambda: stage.a.ask("CollectGarbage", order)):
        died = _dies_and_returns(stage.a)
    stage.a.ask("CollectGarbage", order)
    return died


def thinning(stage: Stage, point: str) -> bool:
    """History has to make room: the device may keep nothing of it, and then as much as before."""
    replaced = stage.a.root / stage.name("replaced")
    for _ in range(2):
        replaced.write_bytes(stage.chance.randbytes(20_000))
        until(lambda: not stage.a.volume().unpublished and not stage.a.volume().unsealed, "it to be published")
    stage.a.arm(point)
    with stage.a.meanwhile(lambda: stage.a.ask("KeepHistory", pb.KeepHistoryRequest(max_bytes=0))):
        died = _dies_and_returns(stage.a)
    stage.a.ask("KeepHistory", pb.KeepHistoryRequest(max_bytes=-1))
    return died


def forgetting(stage: Stage, point: str) -> bool:
    """Records of removed files go once everybody has emptied the trash and heard of the removal."""
    gone = stage.a.root / stage.name("gone")
    gone.write_bytes(b"x")
    there = stage.b.root / gone.name
    until(there.exists, "b to have it")
    gone.unlink()
    until(lambda: not there.exists(), "b to hear of it")
    stage.a.arm(point)
    for victim in (stage.b, stage.a):
        victim.try_to("EmptyTrash", pb.EmptyTrashRequest(volume="docs"))
    return _dies_and_returns(stage.a)


def folding(stage: Stage, point: str) -> bool:
    """An author is left behind where its device takes a new one."""
    stage.b.kill_daemon()
    (stage.b.state / "fingerprint.json").unlink(missing_ok=True)
    stage.b.begin()
    until(lambda: _takes_writes(stage.b), "b to write under its new author")
    stage.b.arm(point)
    return _dies_and_returns(stage.b)


def damaging(stage: Stage, point: str) -> bool:
    data = stage.chance.randbytes(20_000)
    name = stage.name("precious")
    (stage.a.root / name).write_bytes(data)
    there = stage.b.root / name
    until(lambda: there.exists() and there.read_bytes() == data, "b to have it")
    digest = hash_bytes(data).hex()
    content = stage.b.folder() / "content" / digest[:2] / digest
    until(content.exists, "it to be in the content store of b")
    content.chmod(0o600)
    content.write_bytes(data[:100])
    stage.b.arm(point)
    with stage.b.meanwhile(lambda: stage.b.stream("Scrub", pb.ScrubRequest(volume="docs"))):
        died = _dies_and_returns(stage.b)
    with stage.b.meanwhile(lambda: stage.b.stream("Scrub", pb.ScrubRequest(volume="docs"))):
        until(lambda: not stage.b.volume().damaged, "the content to be whole again")
    until(lambda: there.read_bytes() == data, "b to show it")
    (stage.a.root / name).unlink()
    return died


def braking(stage: Stage, point: str) -> bool:
    root = _beside(stage)
    folder = root / stage.name("many")
    folder.mkdir()
    # No two of them alike: what came under another name is not missed.
    files = {f"{number}": stage.chance.randbytes(16) for number in range(12)}
    for name, data in files.items():
        (folder / name).write_bytes(data)
    count = len(list(root.rglob("*/*")))
    until(lambda: stage.b.volume(BESIDE).files == count and not stage.b.volume(BESIDE).pending, "b to have them")
    if point == "brake.held":
        stage.b.arm(point)
    shutil.rmtree(folder)
    died = point == "brake.held" and _dies_and_returns(stage.b)
    until(lambda: _removed(stage.b, count) == len(files), "the removals to be held, but for those before the limit")
    verdict = stage.chance.choice(("accept", "refuse"))
    order = pb.BrakeRequest(volume=BESIDE, act=verdict)
    if point != "brake.held":
        stage.b.arm(point)
        with stage.b.meanwhile(lambda: stage.b.ask("Brake", order)):
            died = _dies_and_returns(stage.b)
    else:
        stage.b.ask("Brake", order)
    until(lambda: not stage.b.volume(BESIDE).held_files, "what was decided to be done")
    if verdict == "refuse":
        until(lambda: {path.name for path in folder.iterdir()} == set(files), "what was refused to be back")
        assert all((folder / name).read_bytes() == data for name, data in files.items())
    return died


def _removed(victim: Victim, before: int) -> int:
    """Files of which it has heard that they are removed, held or not."""
    seen = victim.volume(BESIDE)
    assert seen.held_files, "nothing is held"
    return int(seen.held_files + before - seen.files)


def _beside(stage: Stage) -> Path:
    """Made when it is first wanted. Its brake holds six files; every time it has released them again."""
    if stage.beside is None:
        stage.a.ask("CreateVolume", pb.CreateVolumeRequest(name=BESIDE))
        ticket = stage.a.ask("Share", pb.ShareRequest(volume=BESIDE, role=pb.ROLE_WRITER, uses=1)).ticket
        stage.b.stream("Join", pb.JoinRequest(ticket=ticket))
        stage.b.ask("Brake", pb.BrakeRequest(volume=BESIDE, act="limit", files=5, percent=1))
        path = stage.a.device.home / BESIDE
        path.mkdir()
        stage.a.ask("Mount", pb.MountRequest(volume=BESIDE, path=str(path)))
        stage.beside = path
    until(stage.beside.is_mount, "the other volume to be mounted")
    return stage.beside


def importing(stage: Stage, point: str) -> bool:
    """A folder is moved into the volume: each file is in one of both at any time, and in the volume in the end."""
    victim, name = stage.either(), stage.name("imported")
    source, target = victim.device.home / name, victim.root / name
    files = {f"{size}": stage.chance.randbytes(size) for size in (10, 5_000, 100_000, 300_000)}
    source.mkdir()
    for file, data in files.items():
        (source / file).write_bytes(data)
    victim.arm(point)
    order = ("import", "--move", source, f"docs:{name}")
    with victim.meanwhile(lambda: victim.device.ctl(*order, check=False)):
        died = _dies_and_returns(victim)
    until(lambda: all(_reads(source / file, data) or _reads(target / file, data) for file, data in files.items()), name)
    victim.volume()  # it answers again
    victim.device.ctl(*order)
    until(lambda: all(_reads(target / file, data) for file, data in files.items()), "everything to be in the volume")
    assert not list(source.iterdir())
    source.rmdir()
    shutil.rmtree(target)
    return died


def _reads(path: Path, data: bytes) -> bool:
    try:
        return path.read_bytes() == data
    except OSError:
        return False


def backing_up(stage: Stage, point: str) -> bool:
    victim = stage.either()
    victim.arm(point)
    (victim.root / "changes").write_bytes(stage.chance.randbytes(10))
    return _dies_and_returns(victim)


def repairing(stage: Stage, point: str) -> bool:
    victim = stage.b
    index = victim.folder() / "index.db"
    victim.kill_daemon()
    spoil(index)
    victim.begin()
    victim.arm(point)
    order = pb.FsckRequest(volume="docs", repair=True)
    with victim.meanwhile(lambda: victim.ask("Fsck", order)):
        died = _dies_and_returns(victim, 2 * REACH_S)
    if victim.volume().volume.state != "ready":
        told = victim.ask("Fsck", order)
        assert not any(volume.left for volume in told.volumes), told
    until(lambda: victim.volume().volume.state == "ready", "the volume to be mended")
    for old in index.parent.glob("damaged-*"):
        shutil.rmtree(old)
    until(lambda: _takes_writes(victim), "the mount to take writes again")
    return died


def _takes_writes(victim: Victim) -> bool:
    return bool((victim.root / "changes").write_bytes(b"x"))


def spoil(index: Path) -> None:
    """Spoil the tables that can be derived from others."""
    with closing(sqlite3.connect(index)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        page = db.execute("SELECT rootpage FROM sqlite_schema WHERE name='placements_by_slot'").fetchone()[0]
        size = db.execute("PRAGMA page_size").fetchone()[0]
    with index.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)


Scene = Callable[[Stage, str], bool]
_BY_BEGINNING: dict[str, Scene] = {
    "starting.": starting,
    "rekeying.": rekeying,
    "mounting.": mounting,
    "creating.": creating,
    "leaving.": leaving,
    "joining.": joining,
    "collecting.": collecting,
    "thinning.": thinning,
    "forgetting.": forgetting,
    "folding.": folding,
    "damage.": damaging,
    "brake.": braking,
    "backup.": backing_up,
    "importing.": importing,
    "repairing.": repairing,
    "rotating.": at_the_start,
    "receiving.stored": while_catching_up,
    "receiving.merged": while_catching_up,
    "fetching.part": while_catching_up,
    "cutting.": while_sealing,
    "spans.": while_bringing_chunks,
}


def scene_of(point: str) -> Scene:
    """Points that no scene is for are reached by writing, or the campaign says that they are not reached."""
    for beginning, scene in _BY_BEGINNING.items():
        if point.startswith(beginning):
            return scene
    return while_writing
