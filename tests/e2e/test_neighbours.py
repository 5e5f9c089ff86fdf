# SPDX-License-Identifier: GPL-3.0-or-later
"""Other users of this machine: they get no word that is meant for the daemon, and read nothing of ours."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import stat
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from holofs_api.paths import CALLS_SOCKET_NAME, SOCKET_NAME
from holofs_api.sockets import stand_ins
from support.device import BIN, Device, World
from support.other_user import STRANGER, as_user
from support.wait import until

_CAPABILITIES_V3 = 0x20080522
_LISTENER = """
    import os, select, socket, sys
    os.setgroups([]); os.setgid(USER); os.setuid(USER)
    os.umask(0)
    os.mkdir(FOLDER)
    listeners = []
    for name in ("holofsd.sock", "calls.sock"):
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(FOLDER + "/" + name)
        listener.listen()
        listeners.append(listener)
    print("listens", flush=True)
    heard = b""
    callers = []
    while True:
        for ready in select.select([0, *listeners, *callers], [], [])[0]:
            if ready == 0:
                print(heard.hex(), flush=True)
                sys.exit()
            if ready in listeners:
                callers.append(ready.accept()[0])
                continue
            data = ready.recv(65536)
            heard += data
            if not data:
                callers.remove(ready)
    """


class Neighbour:
    """A process of another user that listens where earlier programs looked for the daemon."""

    def __init__(self, folder: Path) -> None:
        source = textwrap.dedent(_LISTENER).replace("USER", str(STRANGER)).replace("FOLDER", repr(str(folder)))
        self.folder = folder
        self._child = subprocess.Popen(
            [sys.executable, "-I", "-c", source], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/"
        )
        assert self._child.stdout is not None
        assert self._child.stdout.readline() == "listens\n"

    def heard(self) -> bytes:
        """All that was said to it; ends it."""
        told, _ = self._child.communicate("\n")
        return bytes.fromhex(told.strip())

    def close(self) -> None:
        with contextlib.suppress(ValueError, OSError):
            self._child.communicate()
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture
def far(world: World) -> Device:
    """A device whose state directory has a path that no socket's address can hold."""
    device = world.device("far")
    device.state = device.home / ("long" * 25) / ("path" * 12)
    device.environment["HOLOFS_STATE_DIR"] = str(device.state)
    device.environment.pop("XDG_RUNTIME_DIR", None)
    return device


@pytest.fixture
def neighbour(far: Device) -> Iterator[Neighbour]:
    found = Neighbour(next(path for path in stand_ins(far.state) if path.parent == Path("/tmp")))
    yield found
    found.close()


def test_a_neighbour_in_the_place_of_the_daemon_hears_nothing(far: Device, neighbour: Neighbour) -> None:
    code = "holofs-recovery-1" + "a" * 52
    for words, stdin in (
        (("status",), ""),
        (("create", "docs"), ""),
        (("recover", "-", "--name", "docs"), code),
        (("join", "-"), "holofs1" + "a" * 60),
        (("doctor",), ""),
        (("down",), ""),
    ):
        told = far.ctl(*words, stdin=stdin, check=False)
        assert (told.code == 0) == (words[0] in ("down", "doctor")), told
    far.up()
    far.create()
    folder = far.mount()
    folder.joinpath("file").write_text("mine")
    assert far.ctl("recovery", "docs").out
    assert far.share()
    assert neighbour.heard() == b""


def test_a_long_state_directory_has_its_sockets_and_nothing_lies_elsewhere(world: World, far: Device) -> None:
    far.up()
    far.create()
    folder = far.mount()
    for name in (SOCKET_NAME, CALLS_SOCKET_NAME):
        assert stat.S_ISSOCK((far.state / name).lstat().st_mode)
    assert not any(os.path.lexists(path) for path in stand_ins(far.state))
    (near,) = world.running("near")
    near.join(far.share())
    folder.joinpath("file").write_text("x")
    there = near.mount()
    until(lambda: there.joinpath("file").exists(), "the file to arrive")
    far.stop_daemon()
    far.start_daemon()
    folder.joinpath("file").write_text("the mount has come back to it")
    far.down()


def test_under_no_umask_is_anything_for_others(world: World) -> None:
    a, b = world.device("a"), world.device("b")
    for device in (a, b):
        device.umask = 0o000
    a.ctl("up")
    a.ctl("create", "docs")
    folder = a.mount()
    for number in range(3):
        folder.joinpath(f"small {number}").write_text("x")
        folder.joinpath(f"large {number}").write_bytes(os.urandom(1 << 20))
    folder.joinpath("small 0").write_text("another version")
    folder.joinpath("small 1").unlink()
    b.ctl("up")
    b.join(a.share())
    there = b.mount()
    wanted = folder.joinpath("large 2").read_bytes()
    until(lambda: there.joinpath("large 2").read_bytes() == wanted, "the files to arrive")
    code = a.ctl("recovery", "docs").out
    b.ctl("recover", "-", stdin=code)
    a.ctl("fsck", "--content")
    b.ctl("leave", "docs")
    a.ctl("down")
    a.ctl("fsck", "--repair")
    a.ctl("device", "new-key")
    b.ctl("down")
    for device in (a, b):
        found = _for_others(device.state)
        assert found == [], found
        assert len(list(device.state.rglob("*"))) > 10


def _for_others(folder: Path) -> list[str]:
    """Entries in it, and the folder itself, with any permission for the group or for all."""
    modes = {path: path.lstat().st_mode for path in (folder, *folder.rglob("*"))}
    return [f"{path} {stat.S_IMODE(mode):o}" for path, mode in modes.items() if not stat.S_ISLNK(mode) and mode & 0o077]


def test_a_neighbour_reads_nothing_of_a_device(world: World) -> None:
    (a,) = world.running("a")
    a.create()
    a.mount()
    for path in (a.world.root, a.home):
        path.chmod(0o755)
    state, pids = a.state, [a.daemon_pid(), *a.mount_pids()]
    assert [_core_limit(pid) for pid in pids] == ["0", "0"]

    def look() -> str:
        found = []
        for path in (state, state / "device.key", state / "holofsd.sock", state / "log"):
            with contextlib.suppress(PermissionError):
                os.listdir(path) if path == state else os.stat(path)
                found.append(str(path))
        for pid in pids:
            for name in ("environ", "mem", "maps"):
                with contextlib.suppress(PermissionError), open(f"/proc/{pid}/{name}", "rb") as file:
                    file.read(1)
                    found.append(f"{pid} {name}")
        return "\n".join(found)

    assert as_user(look) == ""


def _is_readable(pid: int) -> bool:
    """Whether a process of the same user, though it is root's, can read the memory of this one."""
    child = os.fork()
    if child == 0:
        code = 2
        with contextlib.suppress(Exception):
            header = (ctypes.c_uint32 * 2)(_CAPABILITIES_V3, 0)
            if ctypes.CDLL(None).capset(header, (ctypes.c_uint32 * 6)()) == 0:
                try:
                    with open(f"/proc/{pid}/environ", "rb") as file:
                        file.read(1)
                    code = 1
                except PermissionError:
                    code = 0
        os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, 1)
    return code == 1


@pytest.mark.parametrize("debug", [False, True])
def test_no_process_with_keys_can_be_dumped_unless_a_developer_wants_it(world: World, debug: bool) -> None:
    device = world.device("a")
    if debug:
        device.environment["HOLOFS_DEBUG"] = "1"
    # Without capabilities: who has more of them than another process cannot be read by it anyway.
    plain = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
    device.start_daemon(plain)
    waiting = subprocess.Popen(
        [*plain, str(BIN / "holofsctl"), "join", "-"],
        env=device.environment,
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: _core_limit(waiting.pid) == "0" and _is_readable(waiting.pid) is debug, "holofsctl to be ready")
        assert _core_limit(device.daemon_pid()) == "0"
        assert _is_readable(device.daemon_pid()) is debug
    finally:
        waiting.communicate(b"\n")


def _core_limit(pid: int) -> str:
    """The soft one, in bytes."""
    lines = Path(f"/proc/{pid}/limits").read_text().splitlines()
    return next(line.split()[4] for line in lines if line.startswith("Max core file size"))
