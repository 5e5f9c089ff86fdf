# SPDX-License-Identifier: GPL-3.0-or-later
"""The mount supervisor: remembers mounts, starts their processes, adopts an earlier daemon's, restarts dead ones.

A mount process lives on when the daemon stops; `unmount`, `down` and a person's own `fusermount3 -u` end it. Crash
windows: a process that started but is not in the database yet is found by the mark on its command line; a row whose
process is gone is brought back by `restore`.
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import time
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import structlog

from holofs_api.guard import connection_at, end_connection
from holofs_api.mount_access import Allow
from holofs_api.mount_processes import MountCommand, holder_of
from holofs_api.shell import shell_word
from holofsd.core.errors import BadArgument, HoloError, MountBusy, MountPathUnusable, MountUnknown, NoSpace
from holofsd.core.ids import VolumeId
from holofsd.daemon import mount_users
from holofsd.daemon.mount_paths import check_access, check_mount_path, is_dead, mounted_at, unmount, unmounted
from holofsd.daemon.mount_process import READY_TIMEOUT_S, Adopted, MountOrder, MountProcess, launch, log_of
from holofsd.daemon.names import did_you_mean
from holofsd.daemon.processes import find, hanging, is_running
from holofsd.rpc.device_api import MountInfo, MountOptions
from holofsd.store import faults
from holofsd.store.device import DeviceStore, MountRow
from holofsd.store.threads import Pool, in_thread

_log = structlog.get_logger(__name__)

MOUNTS_FILE: Final = "mounts.json"
"""In the state directory: the mounts that run, for a `holofsctl down` that finds no daemon."""
_FIRST_PAUSE_S: Final = 0.5
_LONGEST_PAUSE_S: Final = 30.0
_STEADY_S: Final = 60.0
"""A mount that ran this long starts again without a pause."""
_END_S: Final = 5.0
_LOOK_S: Final = 0.1
_BUSY_ATTEMPTS: Final = 5
_BUSY_PAUSE_S: Final = 0.2
"""A mount that is in use by nobody who can be found is tried so often: a program may just be ending."""

_LONGEST_PROGRAM: Final = 100
"""Characters that are kept of what a mount calls itself."""

Launch = Callable[[MountOrder, asyncio.Event], Awaitable[MountProcess]]


@dataclass(eq=False, slots=True)
class _Mount:
    row: MountRow
    state: str = "starting"
    explanation: str = ""
    process: MountProcess | None = None
    keeper: asyncio.Task[None] | None = None
    attempted: asyncio.Event | None = None
    """Set when the current attempt to bring it up has come to an end."""
    connection: int | None = None
    """The kernel's number of it."""
    program: str = ""
    api_version: int = 0
    """Both as its process gave them when it attached last."""

    @property
    def path(self) -> str:
        return os.fsdecode(self.row.path)


class MountSupervisor:
    """All mounts of this device, each with the task that keeps it up."""

    def __init__(
        self,
        store: DeviceStore,
        state: Path,
        name_of: Callable[[VolumeId], str],
        launch: Launch = launch,
        find: Callable[[str, Path], int] = find,
    ) -> None:
        self._store = store
        self._state = state
        self._name_of = name_of
        self._launch = launch
        self._find = find
        self._mounts: dict[str, _Mount] = {}
        self._serving = asyncio.Event()

    def heard(self, mount_id: str, program: str, api_version: int) -> None:
        """Remembers the program of a mount that attaches, also of one that is refused for its version."""
        for mount in self._mounts.values():
            if mount.row.mount_id == mount_id:
                mount.program, mount.api_version = program[:_LONGEST_PROGRAM], api_version

    # ---- the daemon's life
    def start(self) -> None:
        """Adopts the mounts that still run, and begins to bring back the others, which wait for `serving`.

        A mount's program takes as long to be loaded as an index to be opened, so it begins first.
        """
        for row in self._store.mounts():
            mount = _Mount(row, attempted=asyncio.Event())
            self._mounts[mount.path] = mount
            found = 0
            if is_running(row.pid, row.mount_id, self._state):
                self._up(mount, Adopted(row.pid, row.binding))
            else:
                # A daemon that was killed while it started one could not write its process down.
                found = self._find(row.mount_id, self._state)
                if not (found or row.wanted or self._holds(mount)):
                    self._discard(mount)  # of before the machine was started: what asked for it asks again
                    continue
            mount.keeper = asyncio.create_task(self._keep(mount, found))
        self._write_file()

    def serving(self) -> None:
        """The daemon answers on its socket."""
        self._serving.set()

    async def close(self) -> None:
        """Stops watching. The mounts go on without the daemon."""
        keepers = [mount.keeper for mount in self._mounts.values() if mount.keeper is not None]
        for keeper in keepers:
            keeper.cancel()
        await asyncio.gather(*keepers, return_exceptions=True)

    async def unmount_all(self) -> None:
        """Unmounts everything for `down`, and remembers all mounts. Raises the first failure, after trying all."""
        mounts = list(self._mounts.values())
        failures = await asyncio.gather(
            *(self._take_down(mount, patience=True) for mount in mounts), return_exceptions=True
        )
        self._write_file()
        for failure in failures:
            if isinstance(failure, BaseException):
                raise failure

    # ---- what a person asks for
    async def mount(self, volume: VolumeId, path: str, options: MountOptions) -> MountInfo:
        """Returns when the mount answers. Raises MountPathUnusable or MountFailed; then nothing is remembered."""
        check_access(options.allow)
        known = self._mounts.get(path)
        if known is not None and known.state != "up":
            await self._forget(known)
        if await is_dead(path):
            await unmount(path)
        await check_mount_path(path, self._state)
        row = MountRow(
            os.fsencode(path),
            volume,
            int(options.read_only or bool(options.at_ms)),
            options.binding,
            uuid.uuid4().hex,
            0,
            int(options.remember),
            options.at_ms,
            options.allow.value,
            int(options.no_exec),
        )
        mount = _Mount(row, attempted=asyncio.Event())
        # Before it runs: a daemon that dies now finds the mount again.
        self._store_row(mount, 0)
        self._mounts[path] = mount
        faults.reach("mounting.noted")
        try:
            process = await self._launch(self._order(mount), self._serving)
            faults.reach("mounting.started")
            self._up(mount, process)
        except BaseException:
            self._discard(mount)
            raise
        mount.keeper = asyncio.create_task(self._keep(mount))
        return self._info(mount)

    async def unmount(self, path: str, force: bool = True) -> bool:
        """Takes a mount away and forgets it; whether it is over, which it is not where `force` detached what is in use.

        Raises MountUnknown, MountFailed, and without `force` MountBusy where a program uses it: then nothing is
        changed.
        """
        mount = self._mounts.get(path)
        if mount is None:
            raise self._not_mounted(path)
        if not force and not await self._unmounted(mount):
            raise MountBusy(await self._in_use(mount))
        return await self._forget(mount)

    async def _unmounted(self, mount: _Mount) -> bool:
        """Whether nothing is mounted there any more. What is just being closed is waited for."""
        if not self._holds(mount):
            return True
        for attempt in range(_BUSY_ATTEMPTS):
            if attempt:
                await asyncio.sleep(_BUSY_PAUSE_S)
            if await unmounted(mount.path):
                return True
            if mount_users.mounts_below(mount.path) or await mount_users.users_of(mount.path, mount.row.pid):
                return False
        return False

    async def _in_use(self, mount: _Mount) -> str:
        told = f"Close it there, or detach it with `holofsctl unmount --force {shell_word(mount.path)}`."
        below = mount_users.mounts_below(mount.path)
        if below:
            return f"{mount.path} is in use: something is mounted inside, at {below[0]}. Unmount that first."
        users = await mount_users.users_of(mount.path, mount.row.pid)
        if users:
            return f"{mount.path} is in use by {mount_users.told(users)}. {told}"
        return f"{mount.path} is in use by a program that this user cannot see. {told}"

    def _not_mounted(self, path: str) -> HoloError:
        """A place inside a mount is a wrong argument. One where nothing is mounted may have been right before."""
        around = max((m for m in self._mounts if path.startswith(m.rstrip("/") + "/")), key=len, default="")
        if around:
            told = f"`holofsctl unmount {shell_word(around)}` takes that away"
            return BadArgument(f"{path} is inside the folder mounted at {around}: {told}.")
        return MountUnknown(f"Nothing of this device is mounted at {path}.{did_you_mean(path, self._mounts, 0.85)}")

    async def unmount_volume(self, volume: VolumeId) -> None:
        for mount in [m for m in self._mounts.values() if m.row.volume == volume]:
            await self._forget(mount)

    async def restore(self) -> tuple[MountInfo, ...]:
        """Brings back what is remembered and not up; returns when every mount answers or has failed."""
        for mount in list(self._mounts.values()):
            if mount.state == "down" and (mount.keeper is None or mount.keeper.done()):
                mount.attempted = asyncio.Event()
                mount.keeper = asyncio.create_task(self._keep(mount))
        await asyncio.gather(*(m.attempted.wait() for m in self._mounts.values() if m.attempted is not None))
        return self.infos()

    def infos(self) -> tuple[MountInfo, ...]:
        return tuple(self._info(mount) for _, mount in sorted(self._mounts.items()))

    # ---- one mount
    async def _adopt(self, mount: _Mount, pid: int) -> None:
        """A process that a killed daemon had started; maybe on its way still, and up once the path is mounted."""
        process = Adopted(pid, mount.row.binding)
        ended = asyncio.ensure_future(process.ended())
        try:
            async with asyncio.timeout(READY_TIMEOUT_S):
                while mounted_at(mount.path) is None and not ended.done():
                    await asyncio.wait({ended}, timeout=_LOOK_S)
            if not ended.done():
                self._up(mount, process)
        except TimeoutError:
            process.terminate()
        finally:
            ended.cancel()

    async def _keep(self, mount: _Mount, found: int = 0) -> None:
        """The life of a mount: up, watched, started again when it died; ends when a person took it away."""
        pause = 0.0
        if found:
            await self._adopt(mount, found)
        while True:
            if mount.process is None:
                await asyncio.sleep(pause)
                if not await self._bring_up(mount):
                    pause = min(max(pause * 2, _FIRST_PAUSE_S), _LONGEST_PAUSE_S)
                    continue
            began = time.monotonic()
            assert mount.process is not None
            code = await mount.process.ended()
            hung = await self._let_go(mount)
            mount.process = None
            if not hung and code in (0, None) and mounted_at(mount.path) is None:
                _log.info("a mount was taken away", path=mount.path)
                self._discard(mount)
                return
            _log.error("a mount process died; it is started again", path=mount.path, exit_code=code)
            self._down(mount, "The mount process died; it is being started again.")
            pause = 0.0 if time.monotonic() - began > _STEADY_S else max(pause, _FIRST_PAUSE_S)

    async def _bring_up(self, mount: _Mount) -> bool:
        if not mount.explanation:  # what keeps it down is said until it is up
            mount.state = "starting"
        try:
            await self._let_go(mount)
            # A dead mount stays until there is a new one: an empty folder would look as if everything had been removed.
            check_access(Allow.stored(mount.row.allow))
            over_dead = await is_dead(mount.path)
            if not over_dead:
                await self._refuse_others(mount)
                await check_mount_path(mount.path, self._state)
            self._up(mount, await self._launch(replace(self._order(mount), over_dead=over_dead), self._serving))
        except HoloError as error:
            _log.warning("a mount could not be brought back", path=mount.path, why=error.message)
            self._down(mount, error.message)
            _end_attempt(mount)
            return False
        return True

    async def _refuse_others(self, mount: _Mount) -> None:
        """Raises MountPathUnusable where another device has mounted something.

        What this device had mounted before its state directory was moved is taken away.
        """
        holder = holder_of(mount.path) if mounted_at(mount.path) is not None else None
        if holder is None or holder.belongs_to(self._state):
            return
        if _was_ours(holder, mount):
            await unmount(mount.path)
            return
        copy = " (a copy of this state directory)" if holder.mount_id == mount.row.mount_id else ""
        raise MountPathUnusable(
            f"Another device{copy} has it, that of {holder.state or 'the standard state directory'}: unmount it there,"
            " and it comes back here."
        )

    def _holds(self, mount: _Mount) -> bool:
        """Whether what is mounted at its path is this mount, or what is left of it."""
        if mount.process is not None:
            return True
        if not (mounted_at(mount.path) or "").startswith("fuse.holofs"):
            return False
        holder = holder_of(mount.path)
        return holder is None or holder.belongs_to(self._state) or _was_ours(holder, mount)

    async def _let_go(self, mount: _Mount) -> bool:
        """Frees programs that wait for a killed process of this mount; whether there was one."""
        number = mount.connection or connection_at(mount.path)
        if number is None or not await in_thread(Pool.FOREGROUND, hanging, mount.row.mount_id, self._state):
            return False
        _log.error("a killed mount hung in the kernel; its connection is ended", path=mount.path)
        if not await in_thread(Pool.FOREGROUND, end_connection, number, mount.path):
            _log.warning("a killed mount hangs in the kernel and cannot be freed", path=mount.path, connection=number)
        if mount.process is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(mount.process.ended(), _END_S)
        return True

    async def _forget(self, mount: _Mount) -> bool:
        over = await self._take_down(mount, patience=False)
        try:
            self._drop(mount)
        except NoSpace:
            raise NoSpace(
                f"{mount.path} is unmounted, but comes back with the next `up`: the disk is full, so that cannot be"
                " noted. Make room there, then unmount it again."
            ) from None
        return over

    async def _take_down(self, mount: _Mount, patience: bool) -> bool:
        """Unmounts and stops watching. With `patience` the process is made to end, whatever still uses its files.

        Whether it is over: not where files in use were detached.
        """
        if mount.keeper is not None:
            mount.keeper.cancel()
            await asyncio.gather(mount.keeper, return_exceptions=True)
            mount.keeper = None
        over = True
        if self._holds(mount):
            over = await unmount(mount.path)
        if mount.process is not None and (over or patience):
            await _await_end(mount.process, patience)
        mount.process = None
        self._down(mount, "")
        _end_attempt(mount)
        return over

    # ---- bookkeeping
    def _order(self, mount: _Mount) -> MountOrder:
        row = mount.row
        volume = f"{row.volume.hex()}@{row.at_ms}" if row.at_ms else row.volume.hex()
        return MountOrder(
            state=self._state,
            volume=volume,
            path=mount.path,
            mount_id=row.mount_id,
            read_only=bool(row.read_only),
            binding=row.binding,
            allow=Allow.stored(row.allow),
            no_exec=bool(row.no_exec),
        )

    def _up(self, mount: _Mount, process: MountProcess) -> None:
        mount.process, mount.state, mount.explanation = process, "up", ""
        mount.connection = connection_at(mount.path)
        self._note(mount, process.pid)
        _end_attempt(mount)

    def _down(self, mount: _Mount, explanation: str) -> None:
        mount.state, mount.explanation = "down", explanation
        self._note(mount, 0)

    def _drop(self, mount: _Mount) -> None:
        """Forgets it. Raises NoSpace where that cannot be written down; then it is known still."""
        with self._store.db.transaction():
            self._store.delete_mount(mount.row.path)
        self._mounts.pop(mount.path, None)
        with suppress(OSError):
            log_of(self._state, mount.row.mount_id).unlink()
        self._write_file()

    def _discard(self, mount: _Mount) -> None:
        """Forgets it, at least for as long as this daemon runs."""
        try:
            self._drop(mount)
        except (HoloError, sqlite3.Error) as error:
            self._mounts.pop(mount.path, None)
            _log.warning("the end of a mount cannot be noted", path=mount.path, why=str(error))

    def _note(self, mount: _Mount, pid: int) -> None:
        """Writes down what became of a mount. Where that fails, on a full disk, it is so all the same: a later daemon
        finds a process that is not noted by its command line, and does not take one for alive that has ended."""
        try:
            self._store_row(mount, pid)
        except (HoloError, sqlite3.Error) as error:
            _log.warning("a mount cannot be noted", path=mount.path, why=str(error))

    def _store_row(self, mount: _Mount, pid: int) -> None:
        mount.row = replace(mount.row, pid=pid)
        with self._store.db.transaction():
            if mount.row.wanted or pid:
                self._store.put_mount(mount.row)
            else:
                self._store.delete_mount(mount.row.path)
        self._write_file()

    def _write_file(self) -> None:
        running = [{"path": m.path, "pid": m.row.pid} for m in self._mounts.values() if m.row.pid]
        partial = self._state / f"{MOUNTS_FILE}.new"
        with suppress(OSError):  # a convenience: it must not fail a mount
            partial.write_text(json.dumps(running))
            partial.rename(self._state / MOUNTS_FILE)

    def _info(self, mount: _Mount) -> MountInfo:
        row = mount.row
        binding = (mount.process.binding if mount.process is not None else "") or row.binding
        return MountInfo(
            self._name_of(row.volume),
            mount.path,
            bool(row.read_only),
            mount.state,
            mount.explanation,
            row.pid,
            binding,
            row.at_ms,
            mount.program,
            mount.api_version,
            Allow.stored(row.allow),
            bool(row.no_exec),
        )


def _end_attempt(mount: _Mount) -> None:
    if mount.attempted is not None:
        mount.attempted.set()


def _was_ours(holder: MountCommand, mount: _Mount) -> bool:
    """Whether a process is this mount, of before the state directory was moved."""
    return holder.mount_id == mount.row.mount_id and holder.is_forsaken


async def _await_end(process: MountProcess, patience: bool) -> None:
    """Waits for the end of a mount process. After an unmount it ends by itself, unless files are still open in it; with
    `patience` it is then terminated, and killed."""
    steps = (process.terminate, process.kill) if patience else ()
    for step in (None, *steps):
        if step is not None:
            step()
        try:
            await asyncio.wait_for(process.ended(), _END_S)
        except TimeoutError:
            continue
        return
