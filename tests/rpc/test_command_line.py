# SPDX-License-Identifier: GPL-3.0-or-later
"""holofsctl against a fake device: data on standard output, remarks on standard error, documented exit codes."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import socket
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from holofs_api.shell import shell_word
from holofs_api.state_directory import prepare
from holofs_api.v1 import control_pb2 as pb
from holofsctl.commands.fsck import _lines
from holofsctl.commands.safety import held_sentence
from holofsctl.numbers import seconds
from holofsctl.output import duration, safe, size
from holofsctl.parser import build
from holofsd.rpc import device_api as api
from support.fake_device import FakeDevice
from tests.rpc.conftest import Run

QUOTED = re.compile(r"`([^`\n]*)`")


async def test_share_prints_exactly_the_ticket_and_a_newline(run: Run, device: FakeDevice) -> None:
    code, out, err = await run("share", "docs")
    assert (code, out) == (0, "holofs1abc\n")
    assert "writer" in err
    assert "once" in err


async def test_share_as_json_says_role_uses_and_expiry(run: Run, device: FakeDevice) -> None:
    code, out, _ = await run("share", "docs", "--admin", "--uses", "3", "--expires", "2h", "--json")
    assert code == 0
    told = json.loads(out)
    assert told == {"schema": 1, "ticket": "holofs1abc", "expires_at_ms": 7200000, "uses": 3, "role": "admin"}


async def test_a_drawn_ticket_goes_to_standard_error(run: Run, device: FakeDevice) -> None:
    _, out, err = await run("share", "docs", "--qr")
    assert out == "holofs1abc\n"
    assert len(err.splitlines()) > 10


async def test_join_reads_the_ticket_from_standard_input_and_tells_how_far_it_is(
    run: Run, device: FakeDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("holofs1abc\n"))
    code, out, err = await run("join", "-", "--name", "photos")
    assert (code, out) == (0, "photos\n")
    assert err.splitlines() == ["Looking for desk.", "Here."]


async def test_join_without_a_ticket_is_wrong_usage(
    run: Run, device: FakeDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    code, out, err = await run("join", "-")
    assert (code, out, err.count("\n")) == (2, "", 1)


async def test_an_error_is_one_sentence_with_the_exit_code_of_its_kind(run: Run, device: FakeDevice) -> None:
    code, out, err = await run("share", "theirs")
    assert (code, out, err) == (4, "", "holofsctl: Only an admin can share this volume.\n")


async def test_an_error_as_json_has_the_stable_code(run: Run, device: FakeDevice) -> None:
    code, out, err = await run("share", "theirs", "--json")
    assert (code, out) == (4, "")
    assert json.loads(err)["error"]["code"] == "role-too-low"


async def test_a_daemon_that_is_absent_is_exit_code_three_for_every_command(run: Run, state: Path) -> None:
    commands = ["status", "list", "peers", "conflicts"]
    with_name = ["create", "members", "share", "leave", "wait", "join"]
    for words in [
        *([c] for c in commands),
        *([c, "docs"] for c in with_name),
        ["mount", "docs", "/x"],
        ["unmount", "/x"],
    ]:
        code, out, err = await run(*words)
        warned = words[0] == "join"  # of the ticket in the command line
        assert (code, out, err.count("\n")) == (3, "", 1 + warned), words
        assert f"`holofsctl --state-dir {state} up`" in err
    assert list(state.iterdir()) == []


async def test_a_socket_where_nobody_listens_is_an_absent_daemon(run: Run, state: Path) -> None:
    prepare(state)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(state / "holofsd.sock"))
    code, _, err = await run("status")
    assert (code, err.count("\n")) == (3, 1)


async def test_down_without_a_daemon_is_no_failure(run: Run, state: Path) -> None:
    code, out, _err = await run("down", "--json")
    assert (code, json.loads(out)) == (0, {"schema": 1, "was_running": False})


async def test_wrong_usage_is_exit_code_two_and_one_line(run: Run) -> None:
    for words in (
        ["frobnicate"],
        ["share"],
        ["share", "docs", "--expires", "soon"],
        ["share", "docs", "--uses", "-1"],
    ):
        code, out, err = await run(*words)
        assert (code, out, err.count("\n")) == (2, "", 1), words
        assert err.startswith("holofsctl")


async def test_members_changes_roles_and_removes(run: Run, device: FakeDevice) -> None:
    _, out, _ = await run("members", "docs")
    assert "this device" in out
    assert "removed" in out
    assert json.loads((await run("members", "docs", "role", "desk", "reader", "--json"))[1])["role"] == "reader"
    assert json.loads((await run("members", "docs", "remove", "desk", "--json"))[1])["removed"] is True
    assert (await run("members", "docs", "role", "desk", "king"))[0] == 2


async def test_members_takes_the_verb_first_too_and_says_what_a_removed_device_keeps(
    run: Run, device: FakeDevice
) -> None:
    code, out, err = await run("members", "remove", "docs", "desk", "--json")
    assert (code, json.loads(out)["removed"]) == (0, True)
    assert "it can keep" in err
    assert json.loads((await run("members", "role", "docs", "desk", "admin", "--json"))[1])["role"] == "admin"
    assert (await run("members", "remove", "docs"))[0] == 2
    assert (await run("members", "remove", "--json"))[0] == 0  # a volume may be called like that


async def test_invites_are_listed_and_revoked(run: Run, device: FakeDevice) -> None:
    _, out, err = await run("share", "--list", "docs")
    assert out.splitlines()[0].startswith("0123456789ab  writer  once")
    assert "for ever" in out
    assert "2 invites" in err
    assert [invite["uses_left"] for invite in json.loads((await run("share", "docs", "--list", "--json"))[1])] == [1, 0]
    code, out, err = await run("share", "--revoke", "docs", "0123456789ab")
    assert (code, out) == (0, "0123456789ab\n")
    assert "member still" in err
    assert (await run("share", "--revoke", "docs", "none"))[0] == 1
    assert (await run("share", "--revoke", "docs"))[0] == 2


async def test_recovery_prints_exactly_the_code(run: Run, device: FakeDevice) -> None:
    code, out, err = await run("recovery", "docs")
    assert (code, out) == (0, "holofs-recovery-1-abc\n")
    assert "for ever" in err
    assert json.loads((await run("recovery", "docs", "--forget", "--json"))[1]) == {"schema": 1, "code": "forgotten"}


async def test_recover_reads_the_code_from_standard_input(
    run: Run, device: FakeDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("the code\n"))
    code, out, _ = await run("recover", "-", "--name", "docs", "--from", "x", "--from", "y@1.2.3.4:5")
    assert (code, out) == (0, "the code/docs/x/y@1.2.3.4:5\n")
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    code, _, err = await run("recover", "-")
    assert (code, err) == (2, "holofsctl: There was no recovery code on standard input.\n")


async def test_wait_says_when_the_time_was_up(run: Run, device: FakeDevice) -> None:
    assert (await run("wait", "docs", "--copies", "2"))[0] == 0
    code, out, err = await run("wait", "docs", "--timeout", "1s")
    assert (code, out) == (5, "")
    assert "0 other devices of 1" in err


async def test_status_answers_whether_it_is_safe_on_another_device(run: Run, device: FakeDevice) -> None:
    code, out, _ = await run("status")
    assert code == 0
    assert "Safe: everything written here is also on 1 other device (desk)." in out
    assert "Mounted at /mnt/docs." in out
    assert "Warning: clock" in out


async def test_devices_of_one_name_are_told_apart(
    run: Run, device: FakeDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    status = await device.status("")
    names = {"bb": "desk", "cc": "desk", "dd": "lap", "ee": "shelf"}  # this device is called lap
    safeties = tuple(api.DeviceSafety(id * 32, name, True, True) for id, name in names.items())
    many = replace(status, volumes=(replace(status.volumes[0], devices=safeties),))

    async def answer(volume: str) -> api.DeviceStatus:
        return many

    monkeypatch.setattr(device, "status", answer)
    _, out, _ = await run("status")
    assert "4 other devices (desk (bbbbbbbb), desk (cccccccc), lap (dddddddd), shelf)." in out
    assert [line.split("  connected")[0].strip() for line in out.splitlines() if "  connected" in line] == [
        *("desk (bbbbbbbb)", "desk (cccccccc)", "lap (dddddddd)", "shelf")
    ]


async def test_a_name_that_another_device_has_is_taken_with_a_remark(run: Run, device: FakeDevice) -> None:
    code, out, err = await run("device", "name", "desk")
    assert (code, out) == (0, "desk\n")
    assert "Another device of docs is called desk, too" in err
    assert "bbbbbbbb" in err
    assert "Another device" not in (await run("device", "name", "shelf"))[2]
    assert "Another device" not in (await run("device", "name"))[2]


def test_what_a_check_counted_is_counted_in_good_english() -> None:
    ones = [pb.FsckCount(what=what, number=1) for what in ("own authors", "entries", "aliases", "content files")]
    more = pb.FsckCount(what="peers", number=2000)
    assert "    checked: 1 own author, 1 entry, 1 alias, 1 content file, 2,000 peers" in _lines(
        pb.FsckVolume(checked=[*ones, more])
    )


@pytest.mark.parametrize(
    ("files", "folders", "told"),
    [
        (1, 0, "removed 1 file; it is still here."),
        (0, 1, "removed 1 folder; it is still here."),
        (2, 1, "removed 2 files and 1 folder; they are still here."),
    ],
)
def test_what_the_brake_holds_is_counted_in_good_english(files: int, folders: int, told: str) -> None:
    assert held_sentence(pb.VolumeStatus(held_files=files, held_directories=folders)).endswith(told)


async def test_paths_that_are_no_text_are_printed_safely_and_exactly_in_json(run: Run, device: FakeDevice) -> None:
    _, out, _ = await run("conflicts")
    assert "a\\xff (conflict).txt" in out
    _, out, _ = await run("conflicts", "--json")
    assert os.fsencode(json.loads(out)[0]["path"]) == b"a\xff (conflict).txt"


async def test_options_may_stand_before_or_after_the_command(run: Run, state: Path, device: FakeDevice) -> None:
    before = await run("--json", "list")
    after = await run("list", "--json", "--state-dir", str(state))
    assert before == after
    assert json.loads(before[1])[0]["name"] == "docs"


async def test_ctrl_c_ends_quietly(run: Run, device: FakeDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("holofsctl.session.CommandSession.connect", interrupt)
    code, out, err = await run("list")
    assert (code, out, err) == (130, "", "\n")


async def test_a_defect_is_a_sentence_and_no_traceback(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise LookupError("boom")

    monkeypatch.setattr("holofsctl.session.CommandSession.connect", fail)
    code, _, err = await run("list")
    assert (code, err.count("\n")) == (1, 1)


def test_every_command_of_the_parser_is_in_the_grouped_help() -> None:
    parser = build()
    commands = next(a for a in parser._actions if a.dest == "command").choices
    assert commands
    for command in commands:
        assert f"\n  {command}" in parser.format_help()


def test_times_are_read_as_people_write_them() -> None:
    assert [seconds(text) for text in ("90", "30m", "24h", "7d", "never")] == [90, 1800, 86400, 604800, 0]


def test_text_for_a_terminal_cannot_control_it() -> None:
    assert safe("a\x1b[2Jb\n") == "a\\x1b[2Jb\\n"
    assert safe(b"caf\xc3\xa9 \xff") == "café \\xff"
    assert safe("\udcff") == "\\xff"  # a byte, as Python hands over an argument that is not UTF-8
    assert safe("\ud800") == "\\ud800"


def test_sizes_and_durations_are_readable() -> None:
    assert [size(n) for n in (0, 1023, 1536, 5 << 30)] == ["0 bytes", "1,023 bytes", "1.5 KiB", "5.0 GiB"]
    assert [duration(n) for n in (1, 90, 7200, 86400)] == ["1 second", "90 seconds", "2 hours", "24 hours"]
    assert [duration(n) for n in (0, 60, 3600, 5400)] == ["0 seconds", "1 minute", "1 hour", "90 minutes"]
    assert [duration(n) for n in (200, 9000, 90000, 176400)] == [
        *("3 minutes 20 seconds", "2 hours 30 minutes", "25 hours", "2 days 1 hour")
    ]
    assert [size(n) for n in (1, 2)] == ["1 byte", "2 bytes"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("share", "docs", "--expires", "x\udcff"), "'x\\xff' is not a time like 30m"),
        (("share", "docs", "--expires", "１h"), "'１h' is not a time like 30m"),
        (("share", "docs", "--expires", "0"), "'0' is too small: at least 1 s (or never)"),
        (("share", "docs", "--expires", "99999999999999999999d"), "is too large: at most 1000000d"),
        (("share", "docs", "--uses", "99999999999999999999"), "is too large: at most 2147483647"),
        (("share", "docs", "--uses", "１"), "'１' is not a number from 0 up"),
        (("share", "docs", "--uses", "9" * 5000), "is too large: at most 2147483647"),
        (("wait", "docs", "--copies", "99999999999999999999"), "is too large: at most 2147483647"),
        (("wait", "docs", "--copies", "0"), "'0' is too small: at least 1"),
        (("wait", "docs", "--timeout", "0"), "'0' is too small: at least 1 s"),
        (("wait", "docs", "--timeout", "0s"), "'0s' is too small: at least 1 s"),
        (("wait", "docs", "--timeout", "99999999999999999999d"), "is too large: at most 1000000d"),
        (("history-policy", "docs", "--all", "99999999999999999999d"), "is too large: at most 1000000d"),
        (("history-policy", "docs", "--max", "999999999T"), "is too large: at most 1000000T"),
        (("history-policy", "docs", "--max", "１G"), "'１G' is not a size"),
        (("trash", "empty", "docs", "--older", "99999999999d"), "is too large: at most 1000000d"),
        (("brake", "docs", "--percent", "101"), "'101' is too large: at most 100"),
        (("restore", "docs:x", "--at", "99999999999999999999d"), "is before 1970: say a later time"),
        (("mount", "docs", "/x", "--at", "x\udcff"), "'x\\xff' is not a time like 2026-11-20"),
        (("mount", "docs", "/x", "--binding", "x\udcff"), "--binding takes pyfuse3, fusepy, not 'x\\xff'."),
        (("completion", "tcsh"), "`holofsctl completion` takes bash, zsh, fish, not 'tcsh'."),
        (("config", "get", "nope"), "There is no setting 'nope'. `holofsctl config list` shows all."),
        (("config", "get", "limit.dwn"), "There is no setting 'limit.dwn'. Did you mean `limit.down`?"),
    ],
)
async def test_a_number_that_makes_no_sense_is_told_its_limit(run: Run, words: tuple[str, ...], told: str) -> None:
    code, out, err = await run(*words)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert told in err


async def test_an_invite_for_an_hour_is_said_to_be_good_for_an_hour(run: Run, device: FakeDevice) -> None:
    assert "for 1 hour." in (await run("share", "docs", "--expires", "1h"))[2]


async def test_advice_is_for_the_device_that_was_asked(run: Run, state: Path, device: FakeDevice) -> None:
    device.volumes = []
    _, _, err = await run("list")
    assert f"`holofsctl --state-dir {state} create NAME`" in err
    _, _, err = await run("--state-dir", str(state / "it's not there"), "list")
    (advice,) = QUOTED.findall(err)
    assert shlex.split(advice) == ["holofsctl", "--state-dir", str(state / "it's not there"), "up"]


@pytest.mark.parametrize("name", ["a b", "it's", "$HOME `x`", "\n\x1b'", "\udcff\udcfe raw", "ä 五", "\\x41\n"])
def test_a_word_of_advice_is_what_a_shell_reads(name: str) -> None:
    word = shell_word(name)
    assert word.isprintable()
    assert as_a_shell_reads(word) == os.fsencode(name)


def as_a_shell_reads(word: str) -> bytes:
    command = ["bash", "-c", f"printf %s {word}"]
    return subprocess.run(command, capture_output=True, check=True, timeout=60).stdout


async def test_what_is_listed_can_be_brought_back_by_the_command_that_is_advised(run: Run, device: FakeDevice) -> None:
    _, _, err = await run("conflicts")
    assert "`holofsctl" in err
    for advice in QUOTED.findall(err):
        assert as_a_shell_reads(advice.split()[-1]) == b"docs:a\xff.txt"


async def test_a_secret_in_the_command_line_is_taken_with_a_warning_that_says_how_to_give_it(
    run: Run, device: FakeDevice
) -> None:
    for words, command in ((("join", "holofs1abc"), "join -"), (("recover", "c0de", "--name", "docs"), "recover -")):
        _, _, err = await run(*words)
        assert "other users of this machine can see it" in err.splitlines()[0]
        assert "holofsctl --state-dir" in err.splitlines()[0]
        assert f"{command}`." in err.splitlines()[0]
        assert words[1] not in err.splitlines()[0]
        _, _, err = await run(words[0], "-", *words[2:], stdin=f"{words[1]}\n")
        assert "command line" not in err
