# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings: what a file can hold, what goes before what, and files with faults, which keep no device from starting."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
import structlog
from hypothesis import example, given
from hypothesis import strategies as st

from holofs_api import settings_file
from holofs_api.setting_kinds import Seconds, as_plain, as_text
from holofs_api.settings import BY_KEY, SETTINGS, VARIABLES, FileValue, SettingSource, resolve
from holofs_api.settings_file import LAST_GOOD, MOST_BYTES, parsed, path_of, read, statements
from holofs_mount.patience import PATIENCE
from holofs_mount.settings import read_settings
from holofsd.core.errors import BadConfiguration
from holofsd.daemon import logging as log_setup
from holofsd.daemon.settings import DeviceSettings

FILE = Path("/device/config.toml")


def problems(text: str) -> list[str]:
    """Sentences about a file with this text, without its path."""
    return [problem.removeprefix(f"{FILE}, ") for problem in parsed(text, FILE).problems]


# ---- the file
@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[log]\n\nlevel = 'loud'", "line 3: log.level is 'loud'; it can be debug, info, warning or error."),
        ("[log]\nlevel = ''", "line 2: log.level is empty; it can be debug, info, warning or error."),
        ("log = 3", "line 1: log is 3; it has to be a section, [log]."),
        ("[[log]]\nlevel = 'info'", "line 1: log is [{'level': 'info'}]; it has to be a section, [log]."),
        ("[netwrk]\n", "line 1: There is no setting 'netwrk'; did you mean network?"),
        ("\n[network]\nbnd = 1", "line 3: There is no setting 'network.bnd'; did you mean network.bind?"),
        ("bind = '127.0.0.1:0'", "line 1: There is no setting 'bind'; did you mean network.bind?"),
        ("[x]\ny = 1", "line 1: There is no setting 'x'."),
        ("[network]\nbind = 3", "line 2: network.bind is 3, which is not a text between quotation marks."),
        (
            "[mount]\npatience = true",
            "line 2: mount.patience is True; it has to be a number of seconds from 0 to 86400.",
        ),
        ("[mount]\npatience = nan", "line 2: mount.patience is nan; it has to be a number of seconds from 0 to 86400."),
        ("[log]\nlevel = 'info", "line 2: "),
        ("[log]\nlevel = 'info'\nlevel = 'info'", "line 3: Cannot overwrite a value; this is not TOML."),
        ("\nx = " + "9" * 5000, "line 2: A number has too many digits."),
        ("x = 0x" + "f" * 5000, "line 1: There is no setting 'x'."),
        ("[mount]\npatience = 0x" + "f" * 5000, "line 2: mount.patience is a very large number"),
        ("x = " + "[" * 20000, "line 1: There are too many brackets."),
    ],
)
def test_a_fault_is_told_with_its_line_and_what_is_allowed(text: str, sentence: str) -> None:
    (found,) = problems(text)
    assert found == sentence or (not sentence.endswith((".", "?")) and found.startswith(sentence)), found


def test_every_fault_is_told_in_the_order_of_the_lines_and_the_good_values_are_known() -> None:
    text = '[network]\nrelays = [\n"https://a",\n"b"]\nbind = "::1"\n[log]\nlevel = "debug"\n'
    file = parsed(text, FILE)
    assert [problem.split(":")[0] for problem in file.problems] == [f"{FILE}, line 2", f"{FILE}, line 5"]
    assert file.values == {"log.level": FileValue("debug", 7)}


@pytest.mark.parametrize(
    "text",
    [
        "network.bind = '127.0.0.1:0'",
        "network = { bind = '127.0.0.1:0' }",
        "[network]\nbind = '''127.0.0.1:0'''",
        '"network".\'bind\' = "127.0.0.1:\\u0030"',
    ],
)
def test_a_value_counts_however_toml_writes_it(text: str) -> None:
    file = parsed(text, FILE)
    assert (file.problems, file.values["network.bind"].value) == ((), "127.0.0.1:0")


GARBAGE = st.one_of(
    st.binary(max_size=200),
    st.text(max_size=200).map(str.encode),
    st.text("[]{}=.,'\"#\\\n\t abn019:-_", max_size=120).map(str.encode),
    st.lists(
        st.sampled_from(
            [
                *(f"[{setting.section}]\n" for setting in SETTINGS),
                *(f"{setting.name} = " for setting in SETTINGS),
                *(
                    "1\n",
                    "'x'\n",
                    '"""\n',
                    "[\n",
                    "]\n",
                    "{",
                    "}\n",
                    "1979-05-27\n",
                    "inf\n",
                    "true\n",
                    "[[log]]\n",
                    "x.",
                    "\n",
                ),
            ]
        ),
        max_size=12,
    ).map(lambda words: "".join(words).encode()),
)


@given(GARBAGE)
@example(b"\xff")
@example(b"\x00")
@example(b"a = 1\r\n[log]\r\nlevel = 'x'\r\n")
@example(b"x = 1979-99-99")
@example(b"[log]\nlevel = '\x1b'")
def test_garbage_is_told_as_a_sentence_with_file_and_line(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "garbage.toml"
    path.write_bytes(data)
    lines = data.count(b"\n") + 1
    for problem in read(path).problems:
        begin, _, rest = problem.removeprefix(f"{path}, line ").partition(": ")
        assert begin.isdigit()
        assert 1 <= int(begin) <= lines, problem
        assert rest.endswith((".", "?"))
        assert rest.isprintable()
    path.unlink()


def test_statements_have_their_lines() -> None:
    text = "# x\na = 1\n\n[t]\nb = [\n 1,\n]\nc.d = '''\n]\n'''\n[[l]]\ne = {f = 1}\n"
    assert [(one.path, one.first, one.last) for one in statements(text)] == [
        (("a",), 2, 2),
        (("t",), 4, 4),
        (("t", "b"), 5, 7),
        (("t", "c", "d"), 8, 10),
        (("l",), 11, 11),
        (("l", "e", "f"), 12, 12),
    ]


def test_what_is_no_plain_file_is_told_and_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    os.mkfifo(path)
    assert read(path).problems == (f"{path} is not a file: move it away.",)
    path.unlink()
    path.symlink_to("/dev/zero")
    assert "is a link" in read(path).problems[0]
    path.unlink()
    path.write_bytes(b"#" * (MOST_BYTES + 1))
    assert "more than" in read(path).problems[0]
    path.unlink()
    path.mkdir()
    assert "is not a file" in read(path).problems[0]
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").touch()
    for folder in ("missing", "file", "loop"):
        assert read(tmp_path / folder / "config.toml") == settings_file.SettingsFile(tmp_path / folder / "config.toml")
    assert not read(tmp_path / "missing").exists
    assert read(tmp_path / "missing").problems == ()


def test_a_file_is_replaced_at_once_and_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    (tmp_path / "config.toml.new").symlink_to(tmp_path / "elsewhere")
    old = os.umask(0o777)
    try:
        settings_file.write(path, "[log]\n")
    finally:
        os.umask(old)
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("[log]\n", 0o600)
    assert [name.name for name in tmp_path.iterdir()] == ["config.toml"]


# ---- the table
def test_every_default_is_allowed_and_every_value_is_written_as_it_is_read() -> None:
    for setting in SETTINGS:
        assert setting.kind.of_toml(as_plain(setting.default)) == setting.default
        assert bool(setting.unset) == (not setting.default)
        if setting.default:
            assert setting.kind.of_text(as_text(setting.default)) == setting.default
    assert BY_KEY["mount.patience"].default == PATIENCE
    assert as_text(Seconds().of_text("1.5")) == "1.5"
    assert len(BY_KEY) == len(SETTINGS)


def test_an_option_goes_before_the_environment_and_that_before_the_file() -> None:
    key = "log.level"
    options, environment, file = {key: "error"}, {"HOLOFS_LOG": "Warning"}, {key: FileValue("debug", 4)}
    found = [
        resolve(options, environment, file),
        resolve({}, environment, file),
        resolve({}, {"HOLOFS_LOG": ""}, file),
        resolve({}, {}, {}),
    ]
    assert [(one[key].value, one[key].source, one[key].where) for one, _ in found] == [
        ("error", SettingSource.OPTION, "--log"),
        ("warning", SettingSource.ENVIRONMENT, "HOLOFS_LOG"),
        ("debug", SettingSource.FILE, "4"),
        ("info", SettingSource.DEFAULT, ""),
    ]
    assert not any(complaints for _, complaints in found)


def test_a_bad_variable_is_passed_over_and_told_once() -> None:
    found, complaints = resolve({}, {"HOLOFS_LOG": "loud"}, {"mount.log": FileValue("error", 1)})
    assert complaints == ["HOLOFS_LOG is 'loud'; it can be debug, info, warning or error."]
    assert (found["log.level"].value, found["mount.log"].value) == ("info", "error")


# ---- the daemon
def device(state: Path, text: str, *, is_new: bool = False, **environment: str) -> DeviceSettings:
    """Settings of a daemon that starts with this file."""
    if not is_new:
        (state / "device.key").write_bytes(b"k" * 32)
    path_of(state).write_text(text)
    settings = DeviceSettings(state, {}, environment)
    settings.keep()
    return settings


def test_a_broken_file_leaves_the_last_good_settings_in_use(tmp_path: Path) -> None:
    assert device(tmp_path, "[network]\ndiscovery = 'none'\n").warnings() == []
    settings = device(tmp_path, "[network]\ndiscovery = 'nnoe'\n[log]\nlevel = 'debug'\n")
    assert settings.text("network.discovery") == "none"
    assert settings.text("log.level") == "info"
    (warning,) = settings.warnings()
    assert warning.startswith(f"{path_of(tmp_path)}, line 2: network.discovery is 'nnoe'")
    assert "The last good settings are in use" in warning
    assert (tmp_path / LAST_GOOD).read_text() == "[network]\ndiscovery = 'none'\n"


def test_a_file_of_a_newer_program_leaves_what_this_one_knows_in_use(tmp_path: Path) -> None:
    text = "[log]\nlevel = 'debug'\n[future]\nx = 1\n"
    (tmp_path / LAST_GOOD).write_text(text)
    assert device(tmp_path, text).text("log.level") == "debug"


def test_without_a_last_good_file_a_device_starts_with_the_good_values(tmp_path: Path) -> None:
    settings = device(tmp_path, "[network]\ndiscovery = 'none'\nbind = 'x'\n")
    assert (settings.text("network.discovery"), settings.text("network.bind")) == ("none", "")
    assert "Its good settings, and defaults for the others, are in use" in settings.warnings()[0]
    assert not (tmp_path / LAST_GOOD).exists()


def test_a_first_start_is_refused_while_the_file_is_broken(tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration, match="line 1"):
        device(tmp_path, "discovery = none", is_new=True)


def test_a_file_that_was_taken_away_is_no_last_good_one(tmp_path: Path) -> None:
    device(tmp_path, "[log]\nlevel = 'debug'\n")
    path_of(tmp_path).unlink()
    settings = DeviceSettings(tmp_path, {}, {})
    settings.keep()
    assert settings.text("log.level") == "info"
    assert not (tmp_path / LAST_GOOD).exists()


def test_reloading_applies_what_can_be_applied_and_says_what_waits(tmp_path: Path) -> None:
    settings = device(tmp_path, "", HOLOFS_RELAYS="https://mine")
    applied: list[str] = []
    settings.apply_with("log.level", lambda: applied.append(settings.text("log.level")))
    path_of(tmp_path).write_text("[log]\nlevel = 'debug'\n[network]\nbind = '127.0.0.1:0'\nrelays = []\n")
    settings.reload()
    settings.reload()
    assert applied == ["debug"]
    told = {one.key: (one.value, one.source, one.where, one.waiting) for one in settings.reply().settings}
    assert told["log.level"] == ('"debug"', "file", "2", "")
    assert told["network.bind"] == ('""', "default", "", '"127.0.0.1:0"')
    assert told["network.relays"] == ('["https://mine"]', "environment", "HOLOFS_RELAYS", "")
    path_of(tmp_path).write_text("[log]\nlevel = 'error'\nx")
    settings.reload()
    assert settings.text("log.level") == "debug"
    assert settings.reply().problems == (settings.warnings()[0].split(" The last")[0],)
    path_of(tmp_path).unlink()
    settings.reload()
    assert applied == ["debug", "info"]
    assert settings.warnings() == []
    assert [one for one in settings.reply().settings if one.waiting] == []


def test_how_much_is_logged_can_be_changed_for_loggers_that_are_in_use(tmp_path: Path) -> None:
    file = tmp_path / "log" / "holofsd.log"
    before = structlog.get_config()
    root = logging.getLogger()
    handlers, level = [*root.handlers], root.level
    try:
        log_setup.configure(file, "info", console=False)
        log = structlog.get_logger("holofsd.test")
        log.debug("first")
        log.info("second")
        log_setup.set_level("debug")
        log.debug("third")
        log_setup.set_level("warning")
        log.info("fourth")
    finally:
        structlog.configure(**before)
        logging.basicConfig(handlers=handlers, level=level, force=True)
    assert [word for word in ("first", "second", "third", "fourth") if word in file.read_text()] == ["second", "third"]


# ---- a mount
def test_nothing_wrong_with_settings_keeps_a_mount_from_being_made(tmp_path: Path) -> None:
    (tmp_path / "device.key").write_bytes(b"k" * 32)
    path_of(tmp_path).write_text("[mount]\npatience = 5\nlog = 'x'\n")
    found = read_settings(
        str(tmp_path), {"mount.binding": "fusepy"}, {"HOLOFS_MOUNT_BINDING": "x", "HOLOFS_LOG": "loud"}
    )
    assert (found.binding, found.patience, found.log) == ("fusepy", 5.0, "warning")
    assert len(found.complaints) == 2
    assert "line 3" in found.complaints[0]
    assert read_settings("", {}, {}).patience == PATIENCE
    assert read_settings("", {}, {}).watching
    assert not read_settings("", {"mount.watching": "off"}, {}).watching


def test_variables_of_the_daemon_are_those_that_were_there_before() -> None:
    assert {"HOLOFS_BIND", "HOLOFS_DISCOVERY", "HOLOFS_RELAYS", "HOLOFS_ALLOWED_RELAYS", "HOLOFS_LOG"} < {*VARIABLES}
