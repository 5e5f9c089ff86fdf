# SPDX-License-Identifier: GPL-3.0-or-later
"""Folders that a device may live in: by any program, anything else is refused in one sentence and stays as it was."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support import commands
from support.device import BIN, Result, World
from support.wait import until

STANDING = "holofs-device"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    subprocess.run(["umount", "-l", tmp_path / "small"], stderr=subprocess.DEVNULL, check=False)


def snapshot(root: Path) -> dict[str, tuple[int, int, bytes]]:
    """Entries below a folder, with mode, owner and content."""
    found = {}
    for path in (root, *sorted(root.rglob("*"))):
        known = path.lstat()
        told = path.read_bytes() if stat.S_ISREG(known.st_mode) else b""
        found[str(path)] = (known.st_mode, known.st_uid, told)
    return found


def ask(program: str, *arguments: str | Path, cwd: str | Path = ".", **environment: str) -> Result:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("HOLOFS_")}
    variables = {**kept, "HOLOFS_BIND": "127.0.0.1:0", "HOLOFS_DISCOVERY": "none", **environment}
    if program == "holofsctl":
        umask = os.umask(0o022)
        os.umask(umask)
        code, out, err = commands.run([*map(str, arguments)], variables, b"", 100, umask, os.path.abspath(cwd))
        return Result(code, out.decode(errors="replace"), err.decode(errors="replace"))
    done = subprocess.run(
        [BIN / program, *arguments],
        cwd=cwd,
        env=variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    return Result(done.returncode, done.stdout, done.stderr)


PROGRAMS: dict[str, Callable[[str], list[str]]] = {
    "holofsd": lambda state: ["holofsd", "--state-dir", state],
    "up": lambda state: ["holofsctl", "--state-dir", state, "up"],
    "status": lambda state: ["holofsctl", "--state-dir", state, "status"],
    "down": lambda state: ["holofsctl", "--state-dir", state, "down"],
    "fsck": lambda state: ["holofsctl", "--state-dir", state, "fsck"],
    "mount": lambda state: ["holofs-mount", "--state-dir", state, "notes", "/nowhere"],
}


def _documents(folder: Path) -> Path:
    state = folder / "documents"
    state.mkdir(mode=0o755)
    (state / "letter.txt").write_text("Dear")
    return state


def _only_names_of_ours(folder: Path) -> Path:
    """A person's folder with a backup, a log and a lock in it."""
    state = folder / "things"
    (state / "log").mkdir(parents=True)
    (state / "log" / "letter.txt").write_text("Dear")
    (state / "lock").write_text("not ours")
    return state


def _one_name_of_ours(folder: Path) -> Path:
    state = folder / "keys"
    state.mkdir()
    (state / "device.key").write_bytes(b"x" * 32)
    return state


def _a_file(folder: Path) -> Path:
    (folder / "file").write_text("text")
    return folder / "file"


def _below_a_file(folder: Path) -> Path:
    return _a_file(folder) / "state"


def _a_link_to_nothing(folder: Path) -> Path:
    (folder / "link").symlink_to(folder / "unplugged" / "state")
    return folder / "link"


def _below_a_link_to_nothing(folder: Path) -> Path:
    return _a_link_to_nothing(folder) / "state"


def _a_link_to_itself(folder: Path) -> Path:
    (folder / "loop").symlink_to("loop")
    return folder / "loop" / "state"


def _somebody_elses(folder: Path) -> Path:
    state = folder / "theirs"
    state.mkdir(mode=0o755)
    os.chown(state, 12345, 12345)
    return state


def _for_everybody(folder: Path) -> Path:
    state = folder / "tmp"
    state.mkdir()
    state.chmod(0o1777)
    return state


def _read_only(folder: Path) -> Path:
    small = folder / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro,size=64k,mode=755", "holofs-test", small], check=True)
    return small


def _below_read_only(folder: Path) -> Path:
    return _read_only(folder) / "new" / "state"


def _a_name_too_long(folder: Path) -> Path:
    return folder / "new" / ("x" * 300)


def _a_name_that_is_not_utf8(folder: Path) -> Path:
    return folder / os.fsdecode(b"new-\xff")


def _below_a_name_that_is_not_utf8(folder: Path) -> Path:
    there = _a_name_that_is_not_utf8(folder)
    there.mkdir()
    (folder / "link").symlink_to(there)
    return folder / "link" / "state"


PLACES = [
    (_documents, "letter.txt"),
    (_only_names_of_ours, "holds other things"),
    (_one_name_of_ours, "device.key"),
    (_a_file, "is a file"),
    (_below_a_file, "is a file"),
    (_a_link_to_nothing, "unplugged"),
    (_below_a_link_to_nothing, "unplugged"),
    (_a_link_to_itself, "symbolic links"),
    (_a_name_too_long, "too long"),
    (_a_name_that_is_not_utf8, "is not UTF-8"),
    (_below_a_name_that_is_not_utf8, "is not UTF-8"),
]
"""What no program looks into."""
TO_MAKE_SOMETHING = [
    (_somebody_elses, "another user"),
    (_for_everybody, "for everybody"),
    (_read_only, "read-only"),
    (_below_read_only, "read-only"),
]
"""Where nothing can be made."""


def _refused(told: Result, words: str) -> None:
    assert told.code not in (0, -9), told
    assert words in told.err, told
    assert told.out == ""
    assert len(told.err.strip().splitlines()) == 1, told.err
    assert "Traceback" not in told.err


@pytest.mark.parametrize(("make", "words"), PLACES, ids=[make.__name__ for make, _ in PLACES])
def test_every_program_refuses_what_is_no_state_directory_and_changes_nothing(
    folder: Path, make: Callable[[Path], Path], words: str
) -> None:
    state = make(folder)
    before = snapshot(folder)
    for arguments in PROGRAMS.values():
        _refused(ask(*arguments(str(state))), words)
        assert snapshot(folder) == before
    doctor = ask("holofsctl", "doctor", "--state-dir", state)
    assert doctor.code == 1
    assert words in doctor.out + doctor.err
    assert snapshot(folder) == before


@pytest.mark.parametrize(("make", "words"), TO_MAKE_SOMETHING, ids=[make.__name__ for make, _ in TO_MAKE_SOMETHING])
def test_a_place_where_nothing_can_be_made_is_refused_and_nothing_is_made(
    folder: Path, make: Callable[[Path], Path], words: str
) -> None:
    state = make(folder)
    before = snapshot(folder)
    for name in ("holofsd", "up"):
        _refused(ask(*PROGRAMS[name](str(state))), words)
        assert snapshot(folder) == before


@pytest.mark.parametrize("program", PROGRAMS)
def test_an_empty_name_is_an_error_and_not_the_persons_own_device(program: str, tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path / "xdg")}
    told = ask(*PROGRAMS[program](""), **home)
    _refused(told, "--state-dir is empty")
    assert told.code == 2
    command = [word for word in PROGRAMS[program]("") if word not in ("--state-dir", "")]
    told = ask(*command, HOLOFS_STATE_DIR="", **home)
    _refused(told, "HOLOFS_STATE_DIR is set and empty")
    assert told.code == 2
    assert list(tmp_path.iterdir()) == []


def test_scripts_run_refuses_what_is_no_state_directory_before_it_makes_anything(tmp_path: Path) -> None:
    script = Path(__file__).parents[2] / "scripts" / "run"
    _documents(tmp_path)
    before = snapshot(tmp_path)
    for state, words in (("", "HOLOFS_STATE_DIR is set and empty"), (str(tmp_path / "documents"), "letter.txt")):
        told = ask(str(script), HOLOFS_STATE_DIR=state, HOME=str(tmp_path), HOLOFS_FOLDER=str(tmp_path / "folder"))
        _refused(told, words)
        assert snapshot(tmp_path) == before


def test_a_user_that_does_not_exist_is_said(tmp_path: Path) -> None:
    told = ask("holofsctl", "--state-dir", "~nobody-of-that-name/state", "up", cwd=tmp_path)
    _refused(told, "nobody-of-that-name")
    assert list(tmp_path.iterdir()) == []


def test_commands_say_that_there_is_no_device_and_make_none(tmp_path: Path) -> None:
    for state in (tmp_path / "missing", tmp_path):
        for name in ("status", "fsck"):
            told = ask(*PROGRAMS[name](str(state)))
            _refused(told, " up` makes one")
            assert told.code == (3 if name == "status" else 1)
        _refused(ask(*PROGRAMS["mount"](str(state))), " up` makes one")
        assert ask("holofsctl", "doctor", "--state-dir", state).code == 0
    assert list(tmp_path.iterdir()) == []


def test_a_folder_inside_a_mount_of_holofs_is_refused(world: World) -> None:
    (a,) = world.running("a")
    a.create()
    mounted = a.mount()
    link = a.home / "link"
    link.symlink_to(mounted)
    for state in (mounted / "state", mounted, link / "state", a.home / "x" / ".." / mounted.name):
        for arguments in PROGRAMS.values():
            _refused(ask(*arguments(str(state))), "HoloFS mount")
    # Also while nobody answers there.
    daemon = a.daemon_pid()
    os.kill(daemon, signal.SIGSTOP)
    try:
        _refused(ask(*PROGRAMS["status"](str(link / "state"))), "HoloFS mount")
    finally:
        os.kill(daemon, signal.SIGCONT)
    assert list(mounted.iterdir()) == []


def test_a_folder_inside_the_state_directory_of_another_device_is_refused(world: World) -> None:
    (a,) = world.running("a")
    for name in ("holofsd", "up"):
        _refused(ask(*PROGRAMS[name](str(a.state / "new" / "state"))), "another device")
    assert not (a.state / "new").exists()


def _down(state: Path | str, **more: str) -> None:
    assert ask("holofsctl", "--state-dir", state, "down", **more).code == 0


def test_an_empty_folder_and_one_that_does_not_exist_become_private_devices_whatever_the_umask(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    (empty / "lost+found").mkdir(parents=True)
    empty.chmod(0o775)  # as `mkdir` makes it where the umask is 002
    tmp_path.chmod(0o755)
    for umask, state in ((0, empty), (0, tmp_path / "a" / "b" / "c"), (0o777, tmp_path / "d" / "e")):
        script = f'umask {umask:o}; exec "$@"'
        told = subprocess.run(
            ["bash", "-c", script, "-", BIN / "holofsctl", "--state-dir", state, "up"],
            env={**os.environ, "HOLOFS_BIND": "127.0.0.1:0", "HOLOFS_DISCOVERY": "none"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert told.returncode == 0, told.stderr
        _down(state)
        for path in (state, *state.parents):
            if path == tmp_path:
                break
            assert stat.S_IMODE(path.stat().st_mode) == 0o700, path
        others = {str(p): p.stat().st_mode for p in state.rglob("*") if p.stat().st_mode & 0o077}
        assert {Path(name).name for name in others} <= {"lost+found"}
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


def test_a_path_that_is_relative_or_a_link_or_too_long_for_a_socket_leads_to_one_device(tmp_path: Path) -> None:
    state = tmp_path / ("x" * 120) / "state"
    state.mkdir(parents=True)
    link = tmp_path / "link"
    link.symlink_to(state)
    (tmp_path / "folder").symlink_to(tmp_path / ("x" * 120))
    below = tmp_path / "folder" / "new" / "device"
    assert ask("holofsctl", "--state-dir", below, "up").code == 0, "a new folder below a link"
    _down(below)
    relative = state.relative_to(tmp_path)
    assert ask("holofsctl", "--state-dir", f"./{relative}/../state/", "up", cwd=tmp_path).code == 0
    try:
        ids = set()
        for told in (str(state), str(link), f"./{relative}"):
            answer = ask("holofsctl", "--state-dir", told, "status", cwd=tmp_path)
            assert answer.code == 0, answer.err
            assert "is not running" not in answer.err
            ids.add(ask("holofsctl", "--state-dir", told, "up", cwd=tmp_path).err)
        assert len(ids) == 1
        assert "runs already" in ids.pop()
    finally:
        _down(state)


@pytest.mark.parametrize("point", ["starting.folder", "starting.marked"])
def test_a_first_start_that_was_killed_is_gone_on_with(tmp_path: Path, point: str) -> None:
    state = tmp_path / "state"
    assert ask(*PROGRAMS["holofsd"](str(state)), HOLOFS_FAULTS=f"{point}=kill").code == -9
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    assert sorted(path.name for path in state.iterdir()) == ([STANDING] if point == "starting.marked" else [])
    assert ask(*PROGRAMS["up"](str(state))).code == 0
    _down(state)


@pytest.mark.parametrize("left", [["log"], ["lock"], ["log", "lock"], ["log", "lock", "device.db"]])
def test_what_an_earlier_program_left_is_gone_on_with(tmp_path: Path, left: list[str]) -> None:
    """Neither these nor whole devices of earlier programs have a marker."""
    whole = tmp_path / "whole"
    assert ask(*PROGRAMS["up"](str(whole))).code == 0
    _down(whole)
    (whole / STANDING).unlink()
    state = tmp_path / "state"
    state.mkdir()
    for name in left:
        source = whole / name
        (shutil.copytree if source.is_dir() else shutil.copy2)(source, state / name)
    for device in (state, whole):
        assert ask(*PROGRAMS["up"](str(device))).code == 0
        _down(device)
        assert (device / STANDING).is_file()


def test_a_state_directory_of_a_newer_program_is_left_alone(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    (state / STANDING).write_text("state directory of a HoloFS device, format 2\n")
    before = snapshot(state)
    for arguments in PROGRAMS.values():
        _refused(ask(*arguments(str(state))), "newer HoloFS")
    assert snapshot(state) == before


def test_a_state_directory_that_was_moved_under_its_daemon_is_said(world: World) -> None:
    a, _b = world.sharing("a", "b")
    a.allowed += ["No such file or directory"]  # of whatever looks at the disk by itself meanwhile
    here = a.mount()
    here.joinpath("before").write_bytes(b"1")
    until(a.is_settled, "it to be published")
    old, new = a.state, a.home / "moved"
    old.rename(new)
    for command in (["status"], ["list"], ["create", "more"], ["members", "docs"], ["wait", "docs"], ["fsck"]):
        told = a.ctl("--state-dir", new, *command, check=False)
        assert told.code != 0, command
        for words in (str(old), str(new), "was moved", " down`", " up`"):
            assert words in told.err, command
        assert "internal error" not in told.err
    assert "There is no device" in a.ctl("status", check=False).err
    a.ctl("--state-dir", new, "down")
    assert not os.path.ismount(here)
    a.state = new
    a.environment["HOLOFS_STATE_DIR"] = str(new)
    a.up()
    until(lambda: a.status()["mounts"][0]["state"] == "up", "the mount to come back")
    assert here.joinpath("before").read_bytes() == b"1"
    here.joinpath("after").write_bytes(b"2")
    a.ctl("wait", "docs", "--timeout", "30")


def test_a_volume_of_a_device_with_a_new_key_says_that_it_is_no_member(world: World) -> None:
    (a,) = world.running("a")
    a.allowed += ["a new author takes over"]
    a.create()
    a.down()
    a.ctl("device", "new-key")
    a.up()
    assert "docs: not a member, ready" in a.ctl("status").out
    assert "not a member" in a.ctl("list").out
