# SPDX-License-Identifier: GPL-3.0-or-later
"""`holofsctl config` without a daemon: what it shows, what it writes, and what it refuses to save."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from holofs_api.settings import BY_KEY, SETTINGS, VARIABLES
from holofs_api.settings_file import parsed, path_of
from holofsctl.errors import CommandError
from holofsctl.settings_text import template, with_value, without
from tests.rpc.conftest import Run

EXAMPLES = {
    "device.name": "laptop",
    "network.bind": "[::1]:0",
    "network.discovery": "none",
    "network.relays": "https://a.example.org",
    "network.allowed_relays": "https://a.example.org,any",
    "limit.down": "5M",
    "limit.up": "1.5M",
    "limit.timetable": "08:00,512K Sat-00:00,1M:5M",
    "limit.lan_exempt": "on",
    "limit.metered": "wait",
    "log.level": "debug",
    "metrics.port": "9467",
    "window.port": "off",
    "mount.log": "error",
    "mount.binding": "fusepy",
    "mount.watching": "off",
    "mount.patience": "2.5",
}


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*VARIABLES, "VISUAL", "EDITOR"):
        monkeypatch.delenv(name, raising=False)


def editor(monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Lets $EDITOR be a shell script, which gets the file as $1."""
    monkeypatch.setenv("EDITOR", f"sh -ec {shlex.quote(script)} editor")


# ---- the text
def test_a_new_file_explains_every_setting_and_sets_none() -> None:
    assert parsed(template(), Path("x")).values == {}
    assert parsed(template(), Path("x")).problems == ()
    assert all(len(line) <= 100 for line in template().splitlines())
    everything = "\n".join(
        line.removeprefix("# ") for line in template().splitlines() if " = " in line or line[:1] == "["
    )
    assert {key: told.value for key, told in parsed(everything, Path("x")).values.items()} == {
        setting.key: setting.default for setting in SETTINGS
    }


@pytest.mark.parametrize("key", BY_KEY)
def test_a_value_takes_the_place_of_its_comment_and_gives_it_back(key: str) -> None:
    setting = BY_KEY[key]
    value = setting.kind.of_text(EXAMPLES[key])
    text = with_value(template(), setting, value)
    assert parsed(text, Path("x")).values[key].value == value
    assert len(text.splitlines()) == len(template().splitlines())
    assert without(text, setting) == template()


@pytest.mark.parametrize(
    ("text", "changed", "unset"),
    [
        ("[log]\nlevel = 'info'  # mine\n", '[log]\nlevel = "debug"  # mine\n', None),
        ("# mine\n[network]\nbind = ''", None, None),
        ("log.level = 'info'\n# end\n", 'log.level = "debug"\n# end\n', "# end\n"),
        ("log = {level = 'info'} # mine\n", 'log = {level = "debug"} # mine\n', "log = {} # mine\n"),
        ("[log]\r\nlevel = 'info'\r\n# end\r\n", '[log]\r\nlevel = "debug"\r\n# end\r\n', None),
        ("[log]\nlevel = '''info'''\n[network]\n", '[log]\nlevel = "debug"\n[network]\n', None),
        ("", '[log]\nlevel = "debug"\n', ""),
        ("# only a remark", None, "# only a remark"),
    ],
)
def test_everything_else_in_a_file_stays_as_it_was_written(text: str, changed: str | None, unset: str | None) -> None:
    new = with_value(text, BY_KEY["log.level"], "debug")
    assert changed is None or new == changed
    gone = without(text, BY_KEY["log.level"])
    assert unset is None or gone == unset
    for remark in ("# mine", "# end", "# only a remark"):
        assert new.count(remark) == gone.count(remark) == text.count(remark)


def test_what_no_program_can_change_is_left_alone() -> None:
    with pytest.raises(CommandError, match="config edit"):
        with_value("log = 3", BY_KEY["log.level"], "debug")
    assert without("log = 3", BY_KEY["log.level"]) == "log = 3"


# ---- the commands
async def test_the_first_value_makes_the_file_with_all_settings_explained(run: Run, state: Path) -> None:
    code, out, err = await run("config", "path")
    assert (code, out) == (0, f"{path_of(state)}\n")
    assert "does not exist yet" in err
    code, out, err = await run("config", "set", "log.level", "Debug")
    assert (code, out) == (0, "")
    assert "in use once one does" in err
    path = path_of(state)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_text() == template().replace('# level = "info"', 'level = "debug"')
    told = json.loads((await run("config", "get", "log.level", "--json"))[1])
    assert (told["value"], told["source"], told["default"]) == ("debug", "file", "info")
    assert path.read_text().splitlines()[told["where"] - 1] == 'level = "debug"'
    assert (await run("config", "unset", "log.level"))[0] == 0
    assert path.read_text() == template()
    assert (await run("config", "get", "log.level"))[1] == "info\n"


async def test_a_list_takes_several_words_and_is_shown_in_lines(run: Run, state: Path) -> None:
    relays = ["https://a.example.org", "https://b.example.org"]
    assert (await run("config", "set", "network.relays", *relays))[0] == 0
    assert (await run("config", "get", "network.relays"))[1].splitlines() == relays
    assert (await run("config", "set", "network.relays", ",".join(relays)))[0] == 0
    assert json.loads((await run("config", "get", "network.relays", "--json"))[1])["value"] == relays


async def test_a_list_says_where_each_value_is_from(run: Run, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await run("config", "set", "mount.patience", "5")
    monkeypatch.setenv("HOLOFS_BIND", "127.0.0.1:0")
    code, out, err = await run("config", "list")
    assert (code, err) == (0, "")
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines()}
    assert [*rows] == [*BY_KEY]
    assert rows["network.bind"] == ["HOLOFS_BIND", "127.0.0.1:0"]
    assert rows["mount.patience"][:2] == ["config.toml,", "line"]
    assert rows["network.relays"][0] == "default"
    told = json.loads((await run("config", "list", "--json"))[1])
    assert [one["key"] for one in told] == [*BY_KEY]
    assert told[1] == {
        "schema": 1,
        "key": "network.bind",
        "value": "127.0.0.1:0",
        "source": "environment",
        "where": "HOLOFS_BIND",
        "waiting": None,
        "default": "",
        "allowed": "an IP address and a port, for example 127.0.0.1:0",
        "applies": "next-start",
        "variables": ["HOLOFS_BIND"],
        "option": "--bind",
    }
    _, _, err = await run("config", "set", "network.bind", "127.0.0.1:1234")
    assert "HOLOFS_BIND in the environment goes before the file." in err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("log.level", "loud"), "The value of log.level is 'loud'; it can be debug, info, warning or error."),
        (("log.level", "info", "debug"), "'debug' is one too many: log.level takes one value."),
        (("mount.patience", "1e9"), "The value of mount.patience is '1e9'; it has to be a number"),
        (("device.name", "a/b"), "The value of device.name is 'a/b'. A device's name is one line"),
        (("log.levl", "info"), "Did you mean `log.level`?"),
    ],
)
async def test_a_bad_value_is_refused_before_anything_is_made(
    run: Run, state: Path, words: tuple[str, ...], sentence: str
) -> None:
    code, out, err = await run("config", "set", *words)
    assert (code, out) == (2, "")
    assert sentence in err
    assert [*state.iterdir()] == []


async def test_a_file_with_a_fault_is_not_made_worse(run: Run, state: Path) -> None:
    await run("config", "set", "log.level", "debug")
    path = path_of(state)
    path.write_text("[log]\nlevel = 'debug'\n[network]\nbind = 'x'\n")
    code, _, err = await run("config", "set", "log.level", "error")
    assert code == 1
    assert err.startswith(f"holofsctl: {path}, line 4: network.bind is 'x'; ")
    assert (await run("config", "set", "network.bind", "127.0.0.1:0"))[0] == 0, "what mends it is saved"
    path.write_text("[log\n")
    code, _, err = await run("config", "unset", "log.level")
    assert (code, "line 1" in err) == (1, True)
    code, out, err = await run("config", "list")
    assert (code, len(out.splitlines()), "line 1" in err) == (0, len(SETTINGS), True)
    assert path.read_text() == "[log\n"


async def test_an_edit_is_saved_if_it_has_no_fault(run: Run, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    editor(monkeypatch, """sed -i 's/^# level = .*/level = "error"/' "$1\"""")
    code, out, _ = await run("config", "edit")
    assert (code, out) == (0, "log.level\n")
    assert path_of(state).read_text() == template().replace('# level = "info"', 'level = "error"')
    assert path_of(state).stat().st_mode & 0o777 == 0o600
    code, out, err = await run("config", "edit")
    assert (code, out, err) == (0, "", "Nothing was changed.\n")
    assert not [name for name in state.iterdir() if "edit" in name.name]


async def test_an_edit_with_a_fault_is_refused_and_the_text_is_kept(
    run: Run, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    editor(monkeypatch, """printf '[log]\\nlevel = "loud"\\n' >"$1\"""")
    code, _, err = await run("config", "edit", stdin="")
    draft = state / "config.edit.toml"
    assert code == 1
    assert f"{draft}, line 2: log.level is 'loud'" in err
    assert f"Nothing was saved; your text is in {draft}." in err
    assert draft.read_text() == '[log]\nlevel = "loud"\n'
    assert not path_of(state).exists()
    editor(monkeypatch, """sed -i 's/loud/debug/' "$1\"""")
    code, _, err = await run("config", "edit")
    assert (code, "goes on with the text that was refused" in err) == (0, True)
    assert path_of(state).read_text() == '[log]\nlevel = "debug"\n'
    assert not draft.exists()


async def test_an_edit_is_not_saved_over_what_was_changed_meanwhile(
    run: Run, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await run("config", "set", "log.level", "debug")
    other = "[log]\nlevel = 'error'\n"
    editor(monkeypatch, f"""echo '# x' >>"$1"; printf "{other}" >{shlex.quote(str(path_of(state)))}""")
    code, _, err = await run("config", "edit")
    assert (code, "changed by another program" in err) == (1, True)
    assert path_of(state).read_text() == other


async def test_an_editor_that_fails_saves_nothing(run: Run, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for script, sentence in (("exit 3", "failed with exit code 3"), ('rm "$1"', "took the file away")):
        editor(monkeypatch, script)
        code, _, err = await run("config", "edit")
        assert (code, sentence in err) == (1, True)
    assert not path_of(state).exists()


async def test_without_an_editor_of_ones_own_and_without_a_terminal_nothing_is_started(run: Run, state: Path) -> None:
    code, out, err = await run("config", "edit")
    assert (code, out) == (1, "")
    assert "There is no terminal for an editor here" in err
    assert not path_of(state).exists()


async def test_a_file_that_cannot_be_read_can_be_edited(run: Run, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await run("config", "set", "log.level", "debug")
    path_of(state).write_bytes(b"\xff[log]\n")
    editor(monkeypatch, """grep -q '[log]' "$1"; echo '[log]' >"$1\"""")
    assert (await run("config", "edit"))[0] == 0
    assert path_of(state).read_text() == "[log]\n"


async def test_reloading_needs_a_daemon(run: Run, state: Path) -> None:
    assert (await run("config", "reload"))[0] == 3
    assert (await run("config"))[0] == 2
