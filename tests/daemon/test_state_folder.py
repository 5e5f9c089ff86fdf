# SPDX-License-Identifier: GPL-3.0-or-later
"""The state directory: private, locked, itself; and what the environment may say."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import structlog

from holofsd.core.errors import AlreadyRunning, BadConfiguration, StateDirUnusable
from holofsd.daemon import logging as log_setup
from holofsd.daemon import main as program
from holofsd.daemon import state_folder
from holofsd.daemon.config import read_config
from holofsd.net.api import Discovery


@pytest.fixture
def state(tmp_path: Path) -> Path:
    folder = tmp_path / "state"
    state_folder.prepare(folder)
    return folder


def test_the_directory_is_made_private_also_where_it_was_not(tmp_path: Path) -> None:
    open_folder = tmp_path / "open"
    open_folder.mkdir(mode=0o755)
    state_folder.prepare(open_folder)
    assert stat.S_IMODE(open_folder.stat().st_mode) == 0o700


def test_a_file_in_the_place_of_the_directory_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StateDirUnusable, match="is a file, not a folder"):
        state_folder.prepare(tmp_path / "file")


def test_a_second_daemon_is_told_who_has_the_directory(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with state_folder.locked(state):
        with pytest.raises(AlreadyRunning, match=f"process {os.getpid()}"), state_folder.locked(state):
            pass
        before = sorted(state.iterdir())
        assert program.main(["--state-dir", str(state)]) == program.EXIT_ALREADY_RUNNING
        assert sorted(state.iterdir()) == before
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert told.startswith("holofsd: ")
    with state_folder.locked(state):
        pass


def test_the_key_is_made_once_and_readable_by_its_owner_only(state: Path) -> None:
    seed = state_folder.device_seed(state)
    assert (len(seed), state_folder.device_seed(state)) == (32, seed)
    assert stat.S_IMODE((state / "device.key").stat().st_mode) == 0o600


def test_a_damaged_key_is_never_replaced(state: Path) -> None:
    (state / "device.key").write_bytes(b"short")
    with pytest.raises(StateDirUnusable, match="damaged"):
        state_folder.device_seed(state)
    assert (state / "device.key").read_bytes() == b"short"


def test_a_copied_directory_is_noticed_and_a_moved_one_is_not(state: Path, tmp_path: Path) -> None:
    state_folder.device_seed(state)
    assert not state_folder.was_copied(state)
    state_folder.remember_fingerprint(state)
    (state / "device.db").touch()
    assert not state_folder.was_copied(state)
    moved = state.rename(tmp_path / "moved")
    assert not state_folder.was_copied(moved)
    copy = Path(shutil.copytree(moved, tmp_path / "copy"))
    assert state_folder.was_copied(copy)
    (moved / "fingerprint.json").unlink()
    assert state_folder.was_copied(moved), "a fingerprint that is gone is no proof of being the original"


def test_a_new_key_is_another_device_and_the_former_key_is_kept(state: Path) -> None:
    first = state_folder.device_seed(state)
    state_folder.remember_fingerprint(state)
    (state / "device.db").touch()
    renewed = state_folder.new_seed(state)
    assert state_folder.device_seed(state) == renewed != first
    assert state_folder.was_copied(state), "every volume gets a new author"
    again = state_folder.new_seed(state)
    kept = [(state / f"device.key.former-{number}").read_bytes() for number in (1, 2)]
    assert kept == [first, renewed]
    assert len({first, renewed, again}) == 3
    assert {stat.S_IMODE(path.stat().st_mode) for path in state.glob("device.key*")} == {0o600}


@pytest.mark.parametrize(("point", "changed"), [("rekeying.kept", False), ("rekeying.changed", True)])
def test_a_change_of_the_key_that_was_killed_leaves_one_of_the_two(state: Path, point: str, changed: bool) -> None:
    first = state_folder.device_seed(state)
    killed = subprocess.run(
        [sys.executable, "-m", "holofsd.daemon.new_key_main", "--state-dir", state],
        env={**os.environ, "HOLOFS_FAULTS": f"{point}=kill"},
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    assert (state_folder.device_seed(state) != first) is changed
    assert (state / "device.key.former-1").read_bytes() == first
    state_folder.new_seed(state)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("HOLOFS_BIND", "localhost"),
        ("HOLOFS_BIND", "127.0.0.1:99999"),
        ("HOLOFS_DISCOVERY", "maybe"),
        ("HOLOFS_RELAYS", "relay"),
        ("HOLOFS_RELAYS", "any"),
        ("HOLOFS_ALLOWED_RELAYS", "relay"),
        ("HOLOFS_LOG", "loud"),
        ("HOLOFS_METRICS_PORT", "65536"),
        ("HOLOFS_METRICS_PORT", "-1"),
        ("HOLOFS_METRICS_PORT", "localhost:9467"),
    ],
)
def test_a_variable_that_makes_no_sense_is_named(variable: str, value: str) -> None:
    with pytest.raises(BadConfiguration, match=variable):
        read_config("/state", False, {variable: value})


def test_the_environment_configures_the_network() -> None:
    said = {"HOLOFS_BIND": "[::1]:0", "HOLOFS_DISCOVERY": "none", "HOLOFS_RELAYS": "https://a, https://b"}
    config = read_config("/state", False, said)
    assert config.net.bind == "[::1]:0"
    assert config.net.discovery is Discovery.NONE
    assert config.net.relays == ("https://a", "https://b")
    assert config.socket == Path("/state/holofsd.sock")


def test_no_secret_reaches_the_log_by_name_by_shape_or_in_a_traceback(tmp_path: Path) -> None:
    ticket = "holofs1" + "abcdefgh" * 8
    event = {
        "event": f"joining with {ticket}",
        "ticket": "t",
        "device_secret": b"s",
        "seed": b"x" * 32,
        "nested": {"key": "k", "list": [ticket]},
        "device": b"d" * 32,
        "count": 3,
    }
    clean = log_setup.redact(None, "info", event)
    assert ticket not in json.dumps(clean)
    assert (clean["ticket"], clean["device_secret"], clean["seed"], clean["nested"]["key"]) == (log_setup.HIDDEN,) * 4
    assert (clean["count"], clean["device"]) == (3, "64" * 16)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        log_setup.configure(tmp_path / "log" / "holofsd.log", "info", console=False)
        log = structlog.get_logger("test")
        try:
            raise ValueError(ticket)
        except ValueError as error:
            log.error("failed", exc_info=error)
        logging.getLogger("library").warning("saw %s", ticket)
        log.debug("not at this level")
        lines = [json.loads(line) for line in (tmp_path / "log" / "holofsd.log").read_text().splitlines()]
    finally:
        for handler in root.handlers[:]:
            handler.close()
        root.handlers[:], root.level = handlers, level
        structlog.reset_defaults()
    assert [line["event"] for line in lines] == ["failed", f"saw {log_setup.HIDDEN}"]
    assert ticket not in json.dumps(lines)
    assert "ValueError" in lines[0]["exception"]
    assert lines[0]["level"] == "error"
