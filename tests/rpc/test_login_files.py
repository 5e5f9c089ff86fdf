# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of `holofsctl install`: whatever a path or a setting holds, systemd and desktops read the same again."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from holofs_api.paths import default_state_dir
from holofsctl.login_files import (
    VARIABLES,
    autostart_of,
    desktop_word,
    packaged_units,
    socket_unit_of,
    unit_of,
    unit_word,
)
from support.fake_systemd import address_of, command_of, settings_of, values_of

ODD = (
    "plain",
    "with spaces  and\ttab",
    "100% %h %%",
    "\"double\" 'single'",
    "back\\slash\\",
    "$HOME ${HOME} $$",
    "línea 五",
    "new\nline",
    "; # = ` | & ~",
)
# What would make a mount impossible, or seen by nobody else: see `holofsctl/login_files.py`.
NOT_WITH_FUSE = re.compile(
    "^(NoNewPrivileges|Private|Protect|Restrict(?!art)|SystemCall|LockPersonality|MemoryDeny|ReadOnly|Capability)", re.M
)


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "HOLOFS_STATE_DIR", *VARIABLES):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("odd", ODD)
def test_a_unit_has_the_path_and_the_settings_as_they_are(odd: str, tmp_path: Path) -> None:
    text = unit_of(tmp_path / odd, {"HOLOFS_DEVICE_NAME": odd, "HOLOFS_BIND": "[::1]:0", "HOLOFS_LOG": ""}).text
    assert command_of(text)[-2:] == ["--state-dir", str(tmp_path / odd)]
    assert settings_of(text) == {"HOLOFS_DEVICE_NAME": odd, "HOLOFS_BIND": "[::1]:0"}


@pytest.mark.parametrize("odd", ODD)
def test_a_socket_is_in_the_state_directory_whatever_its_name(odd: str) -> None:
    state = Path("/srv") / odd
    unit = socket_unit_of(state, {})
    if any(character < " " for character in odd):
        assert unit is None, "a line of a unit cannot have it"
        assert not values_of(unit_of(state, {}).text, "Sockets")
        return
    assert unit is not None
    assert address_of(unit.text) == str(state / "activate.sock")
    assert unit.path == unit_of(state, {}).path.with_suffix(".socket")
    assert values_of(unit_of(state, {}).text, "Sockets") == values_of(unit_of(state, {}).text, "Also") == [unit.name]


def test_a_path_that_is_too_long_for_a_socket_has_none() -> None:
    longest = Path("/" + "d" * (107 - len("//activate.sock")))
    assert socket_unit_of(longest, {}) is not None
    assert socket_unit_of(Path(f"{longest}d"), {}) is None
    assert socket_unit_of(Path("/" + "ä" * 50), {}) is None, "bytes count"


@pytest.mark.parametrize("odd", ODD)
def test_systemd_itself_has_nothing_to_say_about_a_unit(odd: str, tmp_path: Path) -> None:
    analyzer = shutil.which("systemd-analyze")
    if analyzer is None:  # the fake one reads units in the tests above
        return
    state, settings = Path("/srv") / odd, {"HOLOFS_DEVICE_NAME": odd, "XDG_CONFIG_HOME": str(tmp_path)}
    files = [file for file in (unit_of(state, settings), socket_unit_of(state, settings)) if file is not None]
    for file in files:
        file.path.parent.mkdir(parents=True, exist_ok=True)
        file.path.write_text(file.text)
    environment = {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path), "PATH": "/usr/bin:/bin"}
    words = [analyzer, "verify", "--user", "--man=no", *(str(file.path) for file in files)]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_unit_has_nothing_that_keeps_fuse_from_mounting(tmp_path: Path) -> None:
    assert not NOT_WITH_FUSE.findall(unit_of(tmp_path, {}).text)


def test_the_unit_of_a_package_differs_only_in_what_it_runs(tmp_path: Path) -> None:
    state = default_state_dir()
    socket = socket_unit_of(state, {})
    assert socket is not None
    packaged = packaged_units("/usr/bin/holofsd")
    assert [*packaged] == [unit_of(state, {}).name, socket.name]
    for text, theirs in zip((unit_of(state, {}).text, socket.text), packaged.values(), strict=True):
        own, other = ([line for line in part.splitlines() if line[:2] not in ("# ", "Ex")] for part in (text, theirs))
        assert own == [line.replace("%h", str(tmp_path)) for line in other]
    assert command_of(packaged["holofsd.service"]) == ["/usr/bin/holofsd"]


def test_a_line_never_becomes_two() -> None:
    assert unit_word("a\nExecStart=/bin/false\x1b") == '"a\\x0aExecStart=/bin/false\\x1b"'
    assert "\n" not in desktop_word("a\nb")


@pytest.mark.parametrize("odd", ODD)
def test_a_desktop_entry_has_the_path_as_it_is(odd: str, tmp_path: Path) -> None:
    text = autostart_of(tmp_path / odd, {"HOLOFS_RELAYS": odd}).text
    line = next(line for line in text.splitlines() if line.startswith("Exec=")).removeprefix("Exec=")
    # Backwards: the string of the entry, then the words of the command, then its field codes.
    string = re.sub(r"\\(.)", lambda found: {"t": "\t", "n": "\n"}.get(found[1], found[1]), line)
    quoted = re.findall(r'"((?:[^"\\]|\\.)*)"', string)
    words = [re.sub(r"\\(.)", r"\1", word).replace("%%", "%") for word in quoted]
    assert words[:2] == ["env", f"HOLOFS_RELAYS={odd}"]
    assert words[-3:] == ["--state-dir", str(tmp_path / odd), "up"]


def test_every_device_has_a_file_of_its_own(tmp_path: Path) -> None:
    own, other, third = (unit_of(state, {}) for state in (default_state_dir(), tmp_path / "a", tmp_path / "b"))
    assert own.path == tmp_path / ".config" / "systemd" / "user" / "holofsd.service"
    assert re.fullmatch(r"holofsd-[0-9a-f]{8}\.service", other.name)
    assert len({own.name, other.name, third.name}) == 3
    assert autostart_of(default_state_dir(), {}).path == tmp_path / ".config" / "autostart" / "holofs.desktop"
    assert autostart_of(tmp_path / "a", {}).name == other.name.replace("holofsd", "holofs").replace(
        "service", "desktop"
    )


def test_a_config_home_that_is_not_absolute_counts_as_none(tmp_path: Path) -> None:
    for told, found in (("relative", tmp_path / ".config"), (str(tmp_path / "x"), tmp_path / "x")):
        assert unit_of(tmp_path, {"XDG_CONFIG_HOME": told}).path.parents[2] == found
