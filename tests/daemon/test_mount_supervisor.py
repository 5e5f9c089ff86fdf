# SPDX-License-Identifier: GPL-3.0-or-later
"""The mount supervisor with mount processes that are only pretended; tests/e2e has real ones."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from holofs_api.mount_access import Allow
from holofsd.core.errors import BadArgument, MountBusy, MountFailed, MountPathUnusable, MountUnknown
from holofsd.core.ids import VolumeId
from holofsd.daemon import mount_paths
from holofsd.daemon import mounts as module
from holofsd.daemon.mount_process import MountOrder, MountProcess
from holofsd.daemon.mounts import MountSupervisor
from holofsd.rpc.device_api import MountOptions
from holofsd.store.device import DeviceStore, MountRow

VOLUME = VolumeId(b"v" * 32)


class FakeProcess:
    binding = "fake"

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.over: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()

    async def ended(self) -> int | None:
        return await asyncio.shield(self.over)

    def end(self, code: int | None) -> None:
        if not self.over.done():
            self.over.set_result(code)

    def terminate(self) -> None:
        self.end(0)

    def kill(self) -> None:
        self.end(-9)


class System:
    """The mounts of a pretended machine."""

    def __init__(self, store: DeviceStore, state: Path) -> None:
        self.store = store
        self.state = state
        self.processes: dict[str, FakeProcess] = {}
        self.mounted: set[str] = set()
        self.starts = 0
        self.failing = ""
        self.busy: set[str] = set()
        self.orders: list[MountOrder] = []

    async def launch(self, order: MountOrder, serving: asyncio.Event) -> MountProcess:
        self.starts += 1
        self.orders.append(order)
        await serving.wait()
        if self.failing:
            raise MountFailed(self.failing)
        process = self.processes[order.path] = FakeProcess(1_000_000 + self.starts)
        self.mounted.add(order.path)
        return process

    async def unmount(self, path: str) -> bool:
        self.mounted.discard(path)
        if path in self.processes:
            self.processes[path].end(0)
        return True

    async def unmounted(self, path: str) -> bool:
        return path not in self.busy and await self.unmount(path)

    def supervisor(self, *, serving: bool = True) -> MountSupervisor:
        supervisor = MountSupervisor(self.store, self.state, lambda volume: "docs", self.launch)
        if serving:
            supervisor.serving()
        return supervisor


@pytest.fixture
async def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[System]:
    state = tmp_path / "state"
    state.mkdir()
    store = DeviceStore(state)
    system = System(store, state)
    monkeypatch.setattr(module, "mounted_at", lambda path: "fuse.holofs" if path in system.mounted else None)
    monkeypatch.setattr(module, "unmount", system.unmount)
    monkeypatch.setattr(module, "unmounted", system.unmounted)
    monkeypatch.setattr(module, "_FIRST_PAUSE_S", 0.001)
    yield system
    store.close()


@pytest.fixture
async def supervisor(system: System) -> AsyncIterator[MountSupervisor]:
    supervisor = system.supervisor()
    supervisor.start()
    yield supervisor
    await supervisor.close()


async def eventually(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not true():  # noqa: ASYNC110 - what is watched tells nobody
            await asyncio.sleep(0.001)


def sleeper(mount_id: str, state: Path, path: str = "") -> subprocess.Popen[bytes]:
    """A process that waits for the end of its input, with the words of a mount on its command line."""
    script = "import sys; print('here', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", script, "--state-dir", str(state), "--mount-id", mount_id, path]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    # Before its first word a process may have no command line yet.
    assert process.stdout is not None
    with process.stdout:
        process.stdout.readline()
    return process


def folder(tmp_path: Path, name: str = "mnt") -> str:
    path = tmp_path / name
    path.mkdir(exist_ok=True)
    return str(path)


async def test_a_mount_is_remembered_with_its_process(
    system: System, supervisor: MountSupervisor, tmp_path: Path
) -> None:
    path = folder(tmp_path)
    info = await supervisor.mount(VOLUME, path, MountOptions(read_only=True))
    assert (info.state, info.pid, info.volume, info.read_only) == ("up", 1_000_001, "docs", True)
    row = system.store.mounts()[0]
    assert (row.path, row.volume, row.pid, row.wanted) == (path.encode(), VOLUME, 1_000_001, 1)
    assert json.loads((system.state / "mounts.json").read_text()) == [{"path": path, "pid": 1_000_001}]


async def test_a_mount_that_fails_to_start_is_not_remembered(
    system: System, supervisor: MountSupervisor, tmp_path: Path
) -> None:
    system.failing = "no such binding"
    with pytest.raises(MountFailed, match="no such binding"):
        await supervisor.mount(VOLUME, folder(tmp_path), MountOptions())
    assert system.store.mounts() == []
    assert supervisor.infos() == ()


async def test_a_path_that_cannot_be_mounted_on_is_refused_and_nothing_is_started(
    system: System, supervisor: MountSupervisor, tmp_path: Path
) -> None:
    full = Path(folder(tmp_path, "full"))
    (full / "file").touch()
    (tmp_path / "file").touch()
    inside = system.state / "inside"
    inside.mkdir()
    for path in ("relative", str(full), str(tmp_path / "missing"), str(tmp_path / "file"), str(inside)):
        with pytest.raises(MountPathUnusable):
            await supervisor.mount(VOLUME, path, MountOptions())
    assert system.starts == 0


async def test_a_process_that_died_is_started_again(
    system: System, supervisor: MountSupervisor, tmp_path: Path
) -> None:
    path = folder(tmp_path)
    await supervisor.mount(VOLUME, path, MountOptions())
    for code in (-9, 1):
        dead = system.processes[path]
        dead.end(code)
        system.mounted.discard(path)
        await eventually(lambda dead=dead: system.processes[path] is not dead and supervisor.infos()[0].state == "up")
    assert system.store.mounts()[0].pid == system.processes[path].pid


async def test_a_mount_that_a_person_took_away_is_forgotten(
    system: System, supervisor: MountSupervisor, tmp_path: Path
) -> None:
    path = folder(tmp_path)
    await supervisor.mount(VOLUME, path, MountOptions())
    await system.unmount(path)
    await eventually(lambda: supervisor.infos() == ())
    assert system.store.mounts() == []
    assert system.starts == 1


async def test_unmounting_forgets_and_what_is_not_mounted_is_said(
    system: System, supervisor: MountSupervisor, tmp_path: Path
) -> None:
    path = folder(tmp_path)
    await supervisor.mount(VOLUME, path, MountOptions())
    await supervisor.unmount(path)
    assert (system.mounted, system.store.mounts(), supervisor.infos()) == (set(), [], ())
    with pytest.raises(MountUnknown):
        await supervisor.unmount(path)


async def test_a_mount_in_use_stays_as_it_is_until_it_is_taken_by_force(
    system: System, supervisor: MountSupervisor, tmp_path: Path
) -> None:
    path = folder(tmp_path)
    await supervisor.mount(VOLUME, path, MountOptions())
    system.busy.add(path)
    with pytest.raises(MountBusy, match="--force"):
        await supervisor.unmount(path, force=False)
    assert [(info.path, info.state) for info in supervisor.infos()] == [(path, "up")]
    system.processes[path].end(1)  # and it is still watched over
    await eventually(lambda: system.starts == 2)
    await eventually(lambda: supervisor.infos()[0].state == "up")
    await supervisor.unmount(path, force=True)
    assert supervisor.infos() == ()


async def test_a_path_inside_a_mount_is_told_from_the_mount(
    system: System, supervisor: MountSupervisor, tmp_path: Path
) -> None:
    path = folder(tmp_path)
    await supervisor.mount(VOLUME, path, MountOptions())
    with pytest.raises(BadArgument, match="inside the folder mounted at"):
        await supervisor.unmount(f"{path}/letters", force=False)


async def test_down_unmounts_everything_and_up_brings_it_back(
    system: System, supervisor: MountSupervisor, tmp_path: Path
) -> None:
    paths = [folder(tmp_path, name) for name in ("one", "two")]
    for path in paths:
        await supervisor.mount(VOLUME, path, MountOptions())
    await supervisor.unmount_all()
    assert system.mounted == set()
    assert [(row.pid, row.wanted) for row in system.store.mounts()] == [(0, 1), (0, 1)]
    await supervisor.close()
    later = system.supervisor(serving=False)
    later.start()
    await eventually(lambda: system.starts == 4)
    assert {info.state for info in later.infos()} == {"starting"}, "they begin before the daemon answers, and wait"
    later.serving()
    infos = await later.restore()
    assert [(info.path, info.state) for info in infos] == [(path, "up") for path in paths]
    await later.close()
    assert system.mounted == set(paths), "the end of the daemon leaves mounts running"


async def test_a_mount_that_is_not_to_be_remembered_ends_with_the_machine_and_not_with_the_daemon(
    system: System, supervisor: MountSupervisor, tmp_path: Path
) -> None:
    path = folder(tmp_path)
    await supervisor.mount(VOLUME, path, MountOptions(remember=False))
    await supervisor.close()
    killed = system.supervisor()  # its process is gone, and what the kernel has of it is there
    killed.start()
    assert [info.state for info in await killed.restore()] == ["up"]
    await killed.close()
    system.mounted.clear()
    rebooted = system.supervisor()
    rebooted.start()
    assert rebooted.infos() == ()
    assert system.store.mounts() == []
    await rebooted.close()


async def test_who_may_use_a_mount_comes_back_with_it_and_is_looked_at_before_anything_is_tried(
    system: System, supervisor: MountSupervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder(tmp_path)
    info = await supervisor.mount(VOLUME, path, MountOptions(allow=Allow.OTHER, no_exec=True))
    assert (info.allow, info.no_exec) == (Allow.OTHER, True)
    await supervisor.unmount_all()
    await supervisor.close()
    later = system.supervisor()
    later.start()
    (info,) = await later.restore()
    assert (info.allow, info.no_exec) == (Allow.OTHER, True)
    assert [(order.allow, order.no_exec) for order in system.orders] == [(Allow.OTHER, True)] * 2

    monkeypatch.setattr(mount_paths, "refusal", lambda allow: "Not for others." if allow else "")
    with pytest.raises(MountFailed, match="Not for others"):
        await later.mount(VOLUME, folder(tmp_path, "other"), MountOptions(allow=Allow.ROOT))
    await later.unmount_all()
    await later.close()
    last = system.supervisor()
    last.start()
    (info,) = await last.restore()
    assert (info.state, info.explanation) == ("down", "Not for others.")
    assert system.starts == 2
    await last.close()


async def test_a_mount_that_cannot_come_back_says_why_and_the_others_do(
    system: System, supervisor: MountSupervisor, tmp_path: Path
) -> None:
    good, bad = folder(tmp_path, "good"), folder(tmp_path, "bad")
    for path in (good, bad):
        await supervisor.mount(VOLUME, path, MountOptions())
    await supervisor.unmount_all()
    await supervisor.close()
    (Path(bad) / "file").touch()
    later = system.supervisor()
    later.start()
    infos = {info.path: info for info in await later.restore()}
    assert infos[good].state == "up"
    assert infos[bad].state == "down"
    assert "not empty" in infos[bad].explanation
    (Path(bad) / "file").unlink()
    await eventually(lambda: all(info.state == "up" for info in later.infos()))
    await later.close()


async def test_a_process_of_an_earlier_daemon_is_adopted_by_its_mount_id(system: System, tmp_path: Path) -> None:
    path = folder(tmp_path)
    with sleeper("mount-1", system.state) as process:
        for mount_id in ("mount-1", "mount-2"):
            row = MountRow(path.encode(), VOLUME, 0, "", mount_id, process.pid, 1)
            with system.store.db.transaction():
                system.store.put_mount(row)
            supervisor = system.supervisor()
            supervisor.start()
            infos = await supervisor.restore()
            assert infos[0].state == "up"
            adopted = mount_id == "mount-1"
            assert (infos[0].pid == process.pid) is adopted, "a number that was given again is not our process"
            assert system.starts == (0 if adopted else 1)
            await supervisor.close()
        assert process.stdin is not None
        process.stdin.close()
        process.wait(45)


async def test_the_death_of_an_adopted_process_is_noticed(system: System, tmp_path: Path) -> None:
    path = folder(tmp_path)
    process = sleeper("mount-1", system.state)
    with system.store.db.transaction():
        system.store.put_mount(MountRow(path.encode(), VOLUME, 0, "", "mount-1", process.pid, 1))
    system.mounted.add(path)  # a dead mount stays in the kernel's list
    supervisor = system.supervisor()
    supervisor.start()
    assert supervisor.infos()[0].pid == process.pid
    process.kill()
    process.wait(45)
    assert process.stdin is not None
    process.stdin.close()
    await eventually(lambda: supervisor.infos()[0].explanation != "" or system.starts == 1)
    system.mounted.discard(path)
    await eventually(lambda: system.starts >= 1 and supervisor.infos()[0].state == "up")
    await supervisor.close()


async def test_a_process_that_a_killed_daemon_had_just_started_is_adopted(system: System, tmp_path: Path) -> None:
    path = folder(tmp_path)
    with system.store.db.transaction():  # as a daemon leaves it that dies between the start and its note
        system.store.put_mount(MountRow(path.encode(), VOLUME, 0, "", "mark-of-it", 0, 1))
    process = sleeper("mark-of-it", system.state)
    supervisor = system.supervisor()
    try:
        supervisor.start()
        assert supervisor.infos()[0].state == "starting"
        system.mounted.add(path)  # it was still on its way
        (info,) = await supervisor.restore()
        assert (info.state, info.pid, system.starts) == ("up", process.pid, 0)
        assert system.store.mounts()[0].pid == process.pid
    finally:
        await supervisor.close()
        assert process.stdin is not None
        process.stdin.close()
        process.wait()


async def test_one_that_ended_on_its_way_is_started_again(system: System, tmp_path: Path) -> None:
    path = folder(tmp_path)
    with system.store.db.transaction():
        system.store.put_mount(MountRow(path.encode(), VOLUME, 0, "", "mark-of-it", 0, 1))
    process = sleeper("mark-of-it", system.state)
    supervisor = system.supervisor()
    try:
        supervisor.start()
        assert process.stdin is not None
        process.stdin.close()
        await asyncio.to_thread(process.wait)
        (info,) = await supervisor.restore()
        assert (info.state, system.starts) == ("up", 1)
    finally:
        await supervisor.close()


async def test_a_mount_of_a_copy_of_the_state_directory_is_not_ours(system: System, tmp_path: Path) -> None:
    path, copy = folder(tmp_path), tmp_path / "copy"
    copy.mkdir()
    process = sleeper("mount-1", copy, path)
    with system.store.db.transaction():  # a copy has the same ids, and perhaps even the number of the process
        system.store.put_mount(MountRow(path.encode(), VOLUME, 0, "", "mount-1", process.pid, 1))
    system.mounted.add(path)
    supervisor = system.supervisor()
    try:
        supervisor.start()
        await supervisor.restore()
        (info,) = supervisor.infos()
        assert (info.state, info.pid, system.starts) == ("down", 0, 0)
        assert "another device (a copy of this state directory) has it" in info.explanation.lower()
        assert str(copy) in info.explanation
        await supervisor.unmount_all()
        assert path in system.mounted, "`down` leaves the mount of another device alone"
    finally:
        await supervisor.close()
        assert process.stdin is not None
        process.stdin.close()
        await asyncio.to_thread(process.wait)


async def test_it_comes_back_once_the_other_device_lets_go(system: System, tmp_path: Path) -> None:
    path, copy = folder(tmp_path), tmp_path / "copy"
    copy.mkdir()
    process = sleeper("mount-1", copy, path)
    with system.store.db.transaction():
        system.store.put_mount(MountRow(path.encode(), VOLUME, 0, "", "mount-1", 0, 1))
    system.mounted.add(path)
    supervisor = system.supervisor()
    try:
        supervisor.start()
        await supervisor.restore()
        assert supervisor.infos()[0].state == "down"
        assert process.stdin is not None
        process.stdin.close()
        await asyncio.to_thread(process.wait)
        system.mounted.discard(path)
        await eventually(lambda: supervisor.infos()[0].state == "up")
    finally:
        await supervisor.close()


async def test_what_ran_before_the_state_directory_was_moved_makes_room(system: System, tmp_path: Path) -> None:
    path = folder(tmp_path)
    process = sleeper("mount-1", tmp_path / "before", path)
    with system.store.db.transaction():
        system.store.put_mount(MountRow(path.encode(), VOLUME, 0, "", "mount-1", process.pid, 1))
    system.mounted.add(path)
    supervisor = system.supervisor()
    try:
        supervisor.start()
        (info,) = await supervisor.restore()
        assert (info.state, system.starts) == ("up", 1)
        assert info.pid != process.pid
    finally:
        await supervisor.close()
        assert process.stdin is not None
        process.stdin.close()
        await asyncio.to_thread(process.wait)
