# SPDX-License-Identifier: GPL-3.0-or-later
"""The window of a real device: opened by `holofsctl ui`, used, and gone with its daemon."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from support import processes
from support.device import Device, World
from support.wait import until
from support.window import Browser


def window_pids(device: Device) -> list[int]:
    return [pid for pid in device.pids() if "holofs_window.main" in processes.command_line(pid)]


def link_of(device: Device) -> str:
    return device.ctl("ui", "--no-open").out.splitlines()[0]


def test_the_window_shows_a_device_and_changes_what_a_person_decides(world: World) -> None:
    a = world.device("a")
    a.up()
    a.create()
    folder = a.mount()
    (folder / "sub").mkdir()
    (folder / "sub" / "note.txt").write_text("first\n")
    (folder / "large").write_bytes(b"x" * 300_000)

    link = link_of(a)
    assert link.startswith("http://127.0.0.1:")
    browser = Browser.opened(link)
    assert Browser(browser.port).get(link[link.index("/?") :]).status == 401
    _files(a, folder, browser)
    _settings(a, browser)
    _ends(a, browser)


def _files(a: Device, folder: Path, browser: Browser) -> None:
    """Folders, content and history, with a mount that is not disturbed by it."""
    listing = browser.call("ListFolder", volume="docs")
    assert [(entry["name"], entry["kind"], entry["size"]) for entry in listing["entries"]][:1] == [
        ("large", "file", 300_000)
    ]
    assert listing["complete"]
    first = browser.call("ListFolder", volume="docs", limit=1)
    assert not first["complete"]
    assert browser.call("ListFolder", volume="docs", after="large")["entries"][0]["name"] == "sub"
    assert browser.post("/api/preview", {"volume": "docs", "path": "sub/note.txt"}).body == b"first\n"
    address = browser.post("/api/offer", {"volume": "docs", "path": "large"}).json()["address"]
    assert browser.get(address).body == b"x" * 300_000
    for path, code in (("nothing", "no-such-name"), ("large", "not-a-directory"), ("sub/..", "no-such-name")):
        got = browser.post("/api/call/ListFolder", {"volume": "docs", "path": path})
        assert got.json()["error"]["code"] == code
    assert browser.post("/api/preview", {"volume": "docs", "path": "sub"}).json()["error"]["code"] == "is-a-directory"

    (folder / "sub" / "note.txt").write_text("second\n")
    versions = until(lambda: _versions(browser), "the version before to be kept")
    browser.call("Restore", volume="docs", path="sub/note.txt", version=versions[1]["id"])
    until(lambda: (folder / "sub" / "note.txt").read_text() == "first\n", "the mount to show it")
    kinds = [kind for kind, _ in browser.follow(2)]
    assert "state" in kinds


def _versions(browser: Browser) -> Any:
    found = browser.call("History", volume="docs", path="sub/note.txt")["versions"]
    return found if len(found) > 1 else None


def _settings(a: Device, browser: Browser) -> None:
    changed = browser.post("/api/set", {"key": "log.level", "value": "debug"}).json()
    assert next(row for row in changed["settings"] if row["key"] == "log.level")["value"] == "debug"
    assert a.ctl("config", "get", "log.level").out == "debug\n"
    refused = browser.post("/api/set", {"key": "log.level", "value": "loud"})
    assert refused.status == 409
    assert "log.level" in refused.json()["error"]["message"]


def _ends(a: Device, browser: Browser) -> None:
    """Switching it off, and its end with the daemon."""
    second = link_of(a)
    assert f":{browser.port}/" in second  # the same process
    a.ctl("config", "set", "window.port", "off")
    until(lambda: not window_pids(a), "the window to end")
    refused = a.ctl("ui", "--no-open", check=False)
    assert (refused.code, refused.out) == (1, "")
    assert "window.port" in refused.err
    a.ctl("config", "unset", "window.port")
    assert Browser.opened(link_of(a)).call("Status")["device_name"] == "a"
    assert len(window_pids(a)) == 1
    log = a.state / "log" / "window.log"
    assert log.read_text() == ""
    a.down()
    until(lambda: not a.pids(), "every process to end")
