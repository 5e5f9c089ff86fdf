# SPDX-License-Identifier: GPL-3.0-or-later
"""The state directory itself: made private, locked against a second daemon, with this device's key and fingerprint."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from holofs_api import state_directory
from holofs_api.state_directory import StateDirError
from holofsd.core.errors import AlreadyRunning, StateDirUnusable
from holofsd.store import faults

SEED_BYTES: Final = 32
_KEY: Final = "device.key"
_FINGERPRINT: Final = "fingerprint.json"
_LOCK: Final = "lock"


def prepare(state: Path) -> None:
    """Makes the directory, readable by its owner alone, unless it holds something else. Raises StateDirUnusable."""
    try:
        state_directory.make_folder(state)
        faults.reach("starting.folder")
        state_directory.mark(state)
        faults.reach("starting.marked")
    except StateDirError as error:
        raise StateDirUnusable(error.message) from None


def require(state: Path) -> None:
    """There is a device, and it is ours. Raises StateDirUnusable."""
    try:
        state_directory.require_device(state)
        state_directory.require_ours(state)
    except StateDirError as error:
        raise StateDirUnusable(error.message) from None


@contextmanager
def locked(state: Path) -> Iterator[None]:
    """Holds the lock; the kernel lets go of it when the process ends, however it ends."""
    with open(state / _LOCK, "a+b") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read(32).decode("ascii", "replace").strip()
            who = f" (process {holder})" if holder.isdigit() else ""
            raise AlreadyRunning(f"holofsd is already running for {state}{who}.") from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n".encode())
        lock.flush()
        yield


class StateFolder:
    """Place of the state directory. It notices a folder that is moved under a running daemon. A context manager."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self._folder = os.open(state, os.O_RDONLY | os.O_DIRECTORY)

    def require(self) -> None:
        """Raises StateDirUnusable where the directory is not in its place any more."""
        ours = os.fstat(self._folder)
        try:
            found = self._state.stat()
        except OSError:
            found = None
        if found is None or (found.st_dev, found.st_ino) != (ours.st_dev, ours.st_ino):
            raise StateDirUnusable(self._complaint())

    def _complaint(self) -> str:
        try:
            now = os.readlink(f"/proc/self/fd/{self._folder}")
        except OSError:
            now = ""
        where = f" to {now}" if now and not now.endswith(" (deleted)") else ""
        return (
            f"The state directory {self._state} was moved{where} while holofsd runs (process {os.getpid()}): run"
            " `holofsctl down`, then `holofsctl up`."
        )

    def __enter__(self) -> StateFolder:
        return self

    def __exit__(self, *_error: object) -> None:
        os.close(self._folder)


def device_seed(state: Path) -> bytes:
    """The seed of the node key; made on the first start. It is on disk before anybody can learn the public key."""
    path = state / _KEY
    try:
        seed = path.read_bytes()
    except FileNotFoundError:
        seed = os.urandom(SEED_BYTES)
        _write_durably(path, seed)
    if len(seed) != SEED_BYTES:
        raise StateDirUnusable(f"{path} is damaged; without it this device cannot be itself. Restore it from a backup.")
    return seed


def new_seed(state: Path) -> bytes:
    """Another key: from now on this is another device. The caller holds the lock.

    The former key is kept aside, for whoever did this in the wrong directory. The fingerprint does not fit any more, so
    every volume gets a new author.
    """
    former = state / _KEY
    if former.exists():
        aside = next(path for number in range(1, 1 << 20) if not (path := state / f"{_KEY}.former-{number}").exists())
        os.link(former, aside)
        faults.reach("rekeying.kept")
    seed = os.urandom(SEED_BYTES)
    _write_durably(former, seed)
    faults.reach("rekeying.changed")
    return seed


def was_copied(state: Path) -> bool:
    """Whether the directory is a copy or was restored: then every volume needs a new author. False on the first start.

    The reasons are in docs/model.md#authors-clocks-and-copies.
    """
    try:
        known = json.loads((state / _FINGERPRINT).read_text())
    except FileNotFoundError:
        # A directory that has a key, but no fingerprint, has lost something: take no chances.
        return (state / "device.db").exists()
    except (ValueError, OSError):
        return True
    return bool(known != _fingerprint(state))


def remember_fingerprint(state: Path) -> None:
    """Called once every volume has its new author."""
    _write_durably(state / _FINGERPRINT, json.dumps(_fingerprint(state)).encode())


def _fingerprint(state: Path) -> dict[str, object]:
    # Not the path: a directory may be moved. Not st_dev: it changes between boots.
    return {"machine": _machine(), "directory": state.stat().st_ino, "key": (state / _KEY).stat().st_ino}


def _machine() -> str:
    for path in ("/etc/machine-id", "/var/lib/dbus/machine-id"):
        try:
            return Path(path).read_text().strip()
        except OSError:
            continue
    return os.uname().nodename


def _write_durably(path: Path, data: bytes) -> None:
    partial = path.with_name(path.name + ".new")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
