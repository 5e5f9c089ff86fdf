# SPDX-License-Identifier: GPL-3.0-or-later
"""The program `holofs-mount`: ready, silent, stopped by a signal, and one sentence for each thing that can be wrong."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from holofs_mount import bindings, options
from mount.conftest import MakeMount
from mount.harness import FakeDaemon, Mount, command
from support.wait import until


def refused(*arguments: str) -> tuple[int, str]:
    """Runs the program until it gives up: its exit code, and the sentence."""
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60)
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("holofs-mount: ")
    return done.returncode, done.stderr.strip()


def mounted(path: Path) -> bool:
    return options.is_mounted(path)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_unmounts_and_ends_well(own_mount: Mount, number: signal.Signals) -> None:
    (own_mount.path / "file").write_bytes(b"x")
    own_mount.process.send_signal(number)
    assert own_mount.process.wait(60) == 0
    assert not mounted(own_mount.path)
    assert own_mount.said() == ""


def test_it_ends_well_when_somebody_else_unmounts(own_mount: Mount) -> None:
    subprocess.run(["fusermount3", "-u", str(own_mount.path)], check=True)
    assert own_mount.process.wait(60) == 0
    assert own_mount.said() == ""


def test_a_mount_in_use_is_taken_away_when_told_to_stop(own_mount: Mount) -> None:
    held = os.open(own_mount.path, os.O_RDONLY)
    assert own_mount.stop() == 0
    assert not mounted(own_mount.path)
    os.close(held)


def test_a_path_that_cannot_be_mounted_on_is_named(daemon: FakeDaemon, tmp_path: Path, binding: str) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"x")
    full = tmp_path / "full"
    full.mkdir()
    (full / "inside").write_bytes(b"x")
    for path, word in ((tmp_path / "missing", "does not exist"), (file, "not a directory"), (full, "not empty")):
        code, sentence = refused(*command(daemon.state, path, binding))
        assert code == options.EXIT_PATH
        assert word in sentence
        assert str(path) in sentence
    assert daemon.ask("calls") == {}


def test_mounting_twice_on_one_path_is_refused(daemon: FakeDaemon, own_mount: Mount) -> None:
    (own_mount.path / "file").write_bytes(b"x")
    code, sentence = refused(*command(daemon.state, own_mount.path, own_mount.binding))
    assert code == options.EXIT_PATH
    assert "already mounted" in sentence
    assert (own_mount.path / "file").read_bytes() == b"x"


def test_a_mount_whose_program_was_killed_is_explained(daemon: FakeDaemon, own_mount: Mount) -> None:
    own_mount.process.kill()
    own_mount.process.wait()
    code, sentence = refused(*command(daemon.state, own_mount.path, own_mount.binding))
    assert code == options.EXIT_PATH
    assert "fusermount3 -u -z" in sentence
    subprocess.run(["fusermount3", "-u", "-z", str(own_mount.path)], check=True)


def test_a_mount_takes_the_place_of_one_whose_program_was_killed(daemon: FakeDaemon, make_mount: MakeMount) -> None:
    mount = make_mount()
    (mount.path / "file").write_bytes(b"x")
    mount.process.kill()
    mount.process.wait()
    assert mounted(mount.path)
    later = subprocess.Popen([*command(daemon.state, mount.path, mount.binding), "--over-dead"])
    try:
        until(lambda: (mount.path / "file").read_bytes() == b"x", "the new one to answer")
    finally:
        later.terminate()
        assert later.wait(60) == 0


def test_a_daemon_that_is_absent_is_said(tmp_path: Path, binding: str) -> None:
    path = tmp_path / "mnt"
    path.mkdir()
    code, sentence = refused(*command(tmp_path / "no state", path, binding))
    assert code == options.EXIT_DAEMON
    assert "holofsctl up" in sentence
    assert not mounted(path)


@pytest.mark.parametrize(("line", "word"), [(b"go\n", "holofsctl up"), (b"", "ended before it answered")])
def test_one_that_is_started_before_the_daemon_waits_for_its_word(
    tmp_path: Path, binding: str, line: bytes, word: str
) -> None:
    path = tmp_path / "mnt"
    path.mkdir()
    go, starter = os.pipe()
    arguments = [*command(tmp_path / "no state", path, binding), "--go-fd", str(go)]
    with subprocess.Popen(arguments, pass_fds=[go], stderr=subprocess.PIPE, text=True) as process:
        os.close(go)
        os.write(starter, line)
        os.close(starter)
        _, sentence = process.communicate(timeout=60)
    assert process.returncode == options.EXIT_DAEMON
    assert word in sentence


def test_an_unknown_volume_is_said_in_the_words_of_the_daemon(daemon: FakeDaemon, tmp_path: Path, binding: str) -> None:
    path = tmp_path / "mnt"
    path.mkdir()
    arguments = command(daemon.state, path, binding)
    arguments[arguments.index("vol")] = "nothing"
    code, sentence = refused(*arguments)
    assert code == options.EXIT_VOLUME
    assert "there is no volume nothing here" in sentence


def test_wrong_usage_is_explained(binding: str, tmp_path: Path) -> None:
    arguments = command(tmp_path, tmp_path, binding)
    done = subprocess.run([*arguments, "--nonsense"], capture_output=True, text=True, timeout=60)
    assert done.returncode == options.EXIT_USAGE
    assert "usage: holofs-mount" in done.stderr
    assert "Traceback" not in done.stderr


def sentence_of(check: Callable[[], object]) -> str:
    with pytest.raises(options.MountError) as failed:
        check()
    assert failed.value.code == options.EXIT_FUSE
    return str(failed.value)


def test_a_machine_without_fuse_is_told_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "modprobe fuse" in sentence_of(lambda: options.check_fuse(str(tmp_path / "fuse")))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "what Debian calls fuse3" in sentence_of(lambda: bindings.choose("pyfuse3"))


def test_a_killed_mount_leaves_the_daemon_and_other_mounts_alone(daemon: FakeDaemon, make_mount: MakeMount) -> None:
    one, two = make_mount("one"), make_mount("two")
    (one.path / "file").write_bytes(b"x")
    one.process.kill()
    one.process.wait()
    until(lambda: (two.path / "file").read_bytes() == b"x", "the other mount goes on")


@pytest.mark.parametrize("patience", ["nan", "inf", "-1", "1e9", "１", "x"])
def test_a_patience_that_is_no_number_of_seconds_is_refused(
    patience: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        options.parse(["docs", str(tmp_path), f"--patience={patience}"])
    assert ended.value.code == options.EXIT_USAGE
    assert "it has to be a number of seconds from 0 to 86400" in capsys.readouterr().err
