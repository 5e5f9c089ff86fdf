# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests of the page, and how names and contents of others travel to it."""

from __future__ import annotations

import json

import pytest

from holofs_api.plain import BadDocument, filled, plain
from holofs_api.v1 import control_pb2 as pb
from holofs_window import settings_page
from holofs_window.calls import MOST_ITEMS, bounded
from holofs_window.content import MOST_TEXT
from holofs_window.control_client import CallFailed
from holofs_window.guard import FILE_POLICY
from support.wait import until
from tests.window.conftest import PNG, Window

RAW_NAME = "a\udcff.txt"


def test_calls_are_those_of_the_command_line_and_no_others(window: Window) -> None:
    browser = window.browser()
    status = browser.call("Status", volume="docs")
    assert status["volumes"][0]["volume"]["role"] == "admin"
    assert browser.call("Peers")["peers"][0]["address"] == "10.0.0.2:4433"
    for method in ("Shutdown", "Recovery", "Leave", "EmptyTrash", "Handshake", "OpenWindow", "ReadFile", "__init__"):
        assert browser.post(f"/api/call/{method}").status == 404
    assert not window.device.shut_down


def test_a_decision_reaches_the_daemon_as_it_was_made(window: Window) -> None:
    browser = window.browser()
    assert browser.call("Members", volume="docs")["members"][1]["removed"]
    assert browser.call("SetMember", volume="docs", device="desk", role="reader")["role"] == "reader"
    done = browser.call("Resolve", volume="docs", path=RAW_NAME, keep="id", id="02" * 16)
    assert done["steps"][0]["path"] == RAW_NAME
    asked = window.device.resolutions[-1]
    assert (asked.path, asked.keep, asked.id, asked.all) == (b"a\xff.txt", "id", "02" * 16, False)
    browser.call("Brake", volume="docs", act="refuse")
    assert window.device.braked[-1] == "refuse"
    assert browser.call("Restore", volume="docs", path="x", version="ab")["steps"][0]["what"] == "restored"
    assert browser.call("Join", ticket="t")["steps"][-1]["stage"] == "ready"


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"[]", {}, 400),
        (b"{", {}, 400),
        (b"[" * 60_000, {}, 400),
        (b'{"volume": "' + b"x" * (70 << 10) + b'"}', {}, 413),
        (b"{}", {"Content-Type": "text/plain"}, 415),
        (b"{}", {"Content-Type": "application/x-www-form-urlencoded"}, 415),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(
    window: Window, body: bytes, headers: dict[str, str], status: int
) -> None:
    assert window.browser().post("/api/call/Status", body, headers).status == status


def test_what_the_daemon_refuses_is_told_in_its_sentence(window: Window) -> None:
    browser = window.browser()
    got = browser.post("/api/call/Restore", {"volume": "docs", "path": "x", "version": "no"})
    assert (got.status, got.json()) == (
        409,
        {"error": {"code": "no-such-name", "message": "There is no such version."}},
    )
    got = browser.post("/api/call/Status", {"nonsense": 1})
    assert (got.status, got.json()["error"]["code"]) == (409, "bad-argument")


def test_names_that_are_no_text_come_and_go_back_unchanged(window: Window) -> None:
    browser = window.browser()
    names = [entry["name"] for entry in browser.call("ListFolder", volume="docs")["entries"]]
    assert RAW_NAME in names
    after = browser.call("ListFolder", volume="docs", after=RAW_NAME, limit=1)["entries"]
    assert [entry["name"] for entry in after] == ["binary"]
    got = browser.post("/api/preview", {"volume": "docs", "path": RAW_NAME})
    assert (got.status, got.body, got.headers["x-holofs-kind"]) == (200, b"one\n", "text")


@pytest.mark.parametrize("half", [0xD800, 0xDCFF])
def test_halves_of_characters_are_refused_where_a_text_is_wanted(
    window: Window, half: int, caplog: pytest.LogCaptureFixture
) -> None:
    browser = window.browser()
    whole = {"volume": "docs", "path": "empty", "key": "log.level"}
    places = {"preview": ("volume", "id"), "offer": ("volume",), "set": ("key", "value"), "share": ("volume",)}
    for place, names in places.items():
        for name in names:
            got = browser.post(f"/api/{place}", {**whole, name: chr(half)})
            assert got.status in (400, 409), (place, name)
    assert caplog.records == []


def test_rates_come_with_the_state_and_counters_do_not(window: Window) -> None:
    state = next(data for kind, data in window.browser().follow(4) if kind == "state")
    (peer,) = state["status"]["peers"]
    assert (peer["sending"], peer["receiving"], peer["seconds_left"]) == (2048, 0, 90)
    assert "sent_bytes" not in peer
    assert "sent_bytes" not in state["status"]["traffic"]


def test_what_is_ignored_is_listed_with_its_rule_and_pauses_reach_the_daemon(window: Window) -> None:
    browser = window.browser()
    found = browser.call("ListIgnored", volume="docs")
    assert (found["files"][0]["path"], found["files"][0]["rule"]) == ("build", ".holofsignore:2: /build/")
    assert (found["complete"], found["ignored"]) == (True, 12)
    assert browser.call("Pause", volume="docs", for_seconds=60)["pauses"][0]["volume"] == "docs"
    assert browser.call("Resume")["pauses"] == []


def test_a_long_list_is_cut_and_says_so(window: Window) -> None:
    brake = window.browser().call("Brake", volume="docs")
    assert len(brake["paths"]) == MOST_ITEMS
    assert brake["more"] == {"paths": 500}
    assert bounded({"a": [1], "b": "x"}) == {"a": [1], "b": "x", "more": {}}


@pytest.mark.parametrize(
    ("path", "kind", "type"),
    [
        ("evil.html", "text", "text/plain; charset=utf-8"),
        ("evil.svg", "text", "text/plain; charset=utf-8"),
        ("dir/picture.txt", "picture", "image/png"),
        ("binary", "other", "text/plain; charset=utf-8"),
        ("latin", "other", "text/plain; charset=utf-8"),
        ("long.txt", "text", "text/plain; charset=utf-8"),
        ("empty", "text", "text/plain; charset=utf-8"),
    ],
)
def test_content_is_shown_by_its_bytes_and_can_run_nothing(window: Window, path: str, kind: str, type: str) -> None:
    got = window.browser().post("/api/preview", {"volume": "docs", "path": path})
    assert (got.status, got.headers["x-holofs-kind"], got.headers["content-type"]) == (200, kind, type)
    assert got.headers["x-content-type-options"] == "nosniff"
    assert got.headers["content-security-policy"] == FILE_POLICY
    assert got.headers["x-holofs-cut"] == ("1" if path == "long.txt" else "0")
    assert len(got.body) <= MOST_TEXT
    if kind == "picture":
        assert got.body == PNG


def test_an_alternative_of_a_conflict_is_shown_likewise(window: Window) -> None:
    got = window.browser().post("/api/preview", {"volume": "docs", "path": RAW_NAME, "id": "01" * 16})
    assert (got.status, got.body) == (200, b"one\ntwo\n")


def test_a_file_is_saved_once_and_never_opened_in_the_page(window: Window) -> None:
    browser, other = window.browser(), window.browser()
    for path, name in (("evil.html", "evil.html"), ('na"me\r\n.txt', "na%22me__.txt"), (RAW_NAME, "a%EF%BF%BD.txt")):
        address = browser.post("/api/offer", {"volume": "docs", "path": path}).json()["address"]
        assert other.get(address).status == 404
        assert browser.get(address, method="HEAD").status == 401
        got = browser.get(address)
        assert got.status == 200
        assert got.headers["content-type"] == "application/octet-stream"
        assert got.headers["content-disposition"] == f"attachment; filename*=UTF-8''{name}"
        assert got.headers["content-security-policy"] == FILE_POLICY
        assert browser.get(address).status == 404
    assert got.body == b"one\n"
    address = browser.post("/api/offer", {"volume": "docs", "path": "nothing"}).json()["address"]
    assert browser.get(address).status == 409
    address = browser.post("/api/offer", {"volume": "docs", "path": "evil.html"}).json()["address"]
    browser.cookie = ""
    assert browser.get(address).status == 401


def test_a_ticket_comes_with_its_qr_code(window: Window) -> None:
    reply = (
        window.browser()
        .post("/api/share", {"volume": "docs", "role": "reader", "uses": 2, "expires_seconds": 5})
        .json()
    )
    assert (reply["ticket"], reply["role"], reply["uses"]) == ("holofs1abc", "reader", 2)
    rows = reply["qr"]
    assert len(rows) == len(rows[0]) >= 21
    assert set("".join(rows)) == {"0", "1"}
    assert rows[0].startswith("1111111")  # a corner
    refused = window.browser().post("/api/share", {"volume": "theirs", "role": "reader"})
    assert refused.json()["error"]["code"] == "role-too-low"


def test_pages_hear_of_the_state_and_of_what_happens(window: Window) -> None:
    found = window.browser().follow(4)
    state = next(data for kind, data in found if kind == "state")
    assert state["status"]["volumes"][0]["files"] == 3
    assert state["status"]["peers"][0]["name"] == "desk"
    events = [data for kind, data in found if kind == "event"]
    assert events[0]["kind"] == "begin"
    until(lambda: window.streams() == 0, "the stream to end with its page")


def test_settings_are_listed_with_what_a_person_needs_to_know(window: Window) -> None:
    listed = window.browser().post("/api/settings").json()
    assert listed["path"] == "/state/config.toml"
    (row,) = listed["settings"]
    assert (row["key"], row["value"], row["choices"][0]) == ("log.level", "info", "debug")
    assert row["applies"] == "at once"


@pytest.mark.parametrize(("key", "value"), [("no.such", "x"), ("log.level", "--state-dir=/x"), ("log.level", "")])
async def test_a_setting_that_cannot_be_is_refused_before_anything_runs(window: Window, key: str, value: str) -> None:
    with pytest.raises(CallFailed):
        await settings_page.change(window.state, key, value)


def test_json_becomes_a_message_and_is_checked() -> None:
    data = {"volume": "docs", "path": RAW_NAME, "all": True, "keep": "both"}
    message = filled(pb.ResolveRequest, data)
    assert (message.path, message.all) == (b"a\xff.txt", True)
    assert {name: plain(message)[name] for name in data} == data
    assert filled(pb.ShareRequest, {"role": "writer", "uses": 3}).role == pb.ROLE_WRITER
    assert not filled(pb.KeepHistoryRequest, {}).HasField("all_seconds")
    wrong: list[dict[str, object]] = [
        *({"uses": True}, {"uses": "3"}, {"uses": -1}, {"uses": 1 << 40}, {"role": "king"}, {"role": 2}),
        *({"reuse": 1}, {"volume": 5}, {"volume": None}, {"volume": ["x"]}, {"other": 1}),
    ]
    for one in wrong:
        with pytest.raises(BadDocument):
            filled(pb.ShareRequest, one)
    with pytest.raises(BadDocument):
        filled(pb.BrakeRequest, {"skip": "x"})
    assert json.loads(json.dumps(plain(filled(pb.BrakeRequest, {"skip": [RAW_NAME]}))))["skip"] == [RAW_NAME]
