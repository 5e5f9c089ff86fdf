# SPDX-License-Identifier: GPL-3.0-or-later
"""The window of a real device in a real browser: pictures in conflict, what is paused and limited, what is ignored."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path

from support.chromium import Chromium
from support.device import Device, World
from support.sources import ROOT
from support.wait import until

AUDIT = (ROOT / "tests" / "support" / "window_audit.js").read_text()
HERE, THERE = (640, 400), (300, 200)
PICTURES = "[...document.querySelectorAll('.sides img')]"
SIDE = "[...document.querySelectorAll('.sides > div')].find((side) => side.textContent.includes({}))"
TEXT = "document.querySelector('main').innerText"


def png(width: int, height: int, colour: bytes) -> bytes:
    """A picture of one colour."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = (b"\0" + colour * width) * height
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def pressed(page: Chromium, name: str, within: str = "document") -> None:
    """Presses the button of this text."""
    page.run(f"[...{within}.querySelectorAll('button')].find((one) => one.textContent === {json.dumps(name)}).click()")


def test_pictures_in_conflict_stand_side_by_side_and_pauses_limits_and_ignored_files_are_shown(world: World) -> None:
    lap, desk = world.sharing("lap", "desk")
    for device in (lap, desk):
        device.ctl("device", "name", device.name)
    here, there = lap.mount(), desk.mount()
    (here / "cat.png").write_bytes(png(10, 10, b"\0\0\0"))
    until(lambda: (there / "cat.png").exists() and desk.is_settled(), "the picture on the other device")
    lap.ctl("pause")
    mine, theirs = png(*HERE, b"\xff\x30\x30"), png(*THERE, b"\x30\x30\xff")
    (here / "cat.png").write_bytes(mine)
    (there / "cat.png").write_bytes(theirs)
    lap.ctl("resume")
    until(lambda: lap.volume_status()["conflicts"] and desk.volume_status()["conflicts"], "the conflict")
    with Chromium() as page:
        page.look(1000, 900)
        page.open(lap.ctl("ui", "--no-open").out.splitlines()[0])
        page.until("document.querySelector('.map')", "the map")
        _pictures(page)
        pressed(page, "Keep this one", SIDE.format("'By desk'"))
        page.until(f"{TEXT}.includes('No conflicts')", "the conflict to be settled")
        for folder in (here, there):
            until(lambda folder=folder: (folder / "cat.png").read_bytes() == theirs, "the chosen picture")  # type: ignore[misc]
            until(lambda folder=folder: [path.name for path in folder.iterdir()] == ["cat.png"], "nothing beside it")  # type: ignore[misc]
        page.look(360, 800, "dark")
        _traffic(page, lap, here)
        _ignored(page, here)
        assert page.run(AUDIT) == []
        assert page.problems == []


def _pictures(page: Chromium) -> None:
    """Both pictures are there, beside each other, with what a person needs to choose."""
    page.run("location.hash = '#/conflicts'")
    page.until("document.querySelector('.sides')", "the conflict")
    pressed(page, "Compare")
    page.until(f"{PICTURES}.length === 2 && {PICTURES}.every((one) => one.naturalWidth)", "both pictures")
    for name, (width, height) in (("lap", HERE), ("desk", THERE)):
        side = SIDE.format(f"'By {name}'")
        found = page.run(
            f"((side) => [side.querySelector('img').naturalWidth, side.querySelector('img').naturalHeight,"
            f" side.querySelectorAll('time').length, side.innerText])({side})"
        )
        assert found[:3] == [width, height, 1]
        assert f"{width} × {height} pixels" in found[3]
        assert "bytes" in found[3] or "KiB" in found[3]
    places = page.run(
        f"{PICTURES}.map((one) => one.getBoundingClientRect()).map((box) => [box.left, box.right, box.top])"
    )
    assert places[0][1] <= places[1][0]
    assert places[0][2] == places[1][2]
    assert page.run(AUDIT) == []


def _traffic(page: Chromium, lap: Device, here: Path) -> None:
    """Rates and limits, and a pause that is begun and ended with the keyboard."""
    page.run("location.hash = '#/transfers'")
    page.until(f"{TEXT}.includes('sending without a limit')", "that there is no limit")
    lap.ctl("limit", "--up", "256K")
    (here / "film.bin").write_bytes(bytes(range(256)) * 65536)  # a minute at the limit
    page.until(f"{TEXT}.includes('sending at most 256 KiB a second')", "the limit")
    page.until(
        r"/sending \d+(\.\d)? KiB a second, fetching/.test(document.querySelector('main').innerText)", "the rate"
    )
    page.until("/ KiB a second/.test(document.querySelector('tbody tr').cells[1].textContent)", "the rate to desk")
    page.until(
        "/ second, about .* left/.test(document.querySelector('tbody tr').cells[1].textContent)", "the time left"
    )
    page.until(
        r"/\d+ %, 1 file, \d+(\.\d)? [KM]iB to go/.test(document.querySelector('main').innerText)", "what is to go"
    )
    lap.ctl("limit", "--off")
    page.run("document.querySelector('summary[data-mark=pause]').focus()")
    page.press("Enter")
    page.press("Tab", 3)
    page.press("Enter")
    page.until(f"{TEXT}.includes('Everything is paused')", "the pause")
    assert [(one["volume"], one["device"]) for one in lap.json("status")["traffic"]["pauses"]] == [("", "")]
    assert page.run(AUDIT) == []
    page.run("document.querySelector('[data-mark=\"r--\"]').focus()")
    page.press("Enter")
    page.until(f"{TEXT}.includes('Nothing is paused')", "the end of the pause")
    assert lap.json("status")["traffic"]["pauses"] == []


def _ignored(page: Chromium, here: Path) -> None:
    (here / ".holofsignore").write_text("*.tmp\n/build/\n")
    (here / "build").mkdir()
    for number in range(5):
        (here / "build" / f"{number}.o").write_bytes(b"x" * 1000)
    (here / "<img src=x onerror=alert(1)>.tmp").write_text("1")
    page.until(f"{TEXT}.includes('docs: 6 ignored files')", "how many are ignored")
    page.run("[...document.querySelectorAll('summary')].at(-1).click()")
    page.until(f"{TEXT}.includes('.holofsignore:2: /build/')", "the rules")
    rows = page.run("[...document.querySelectorAll('details[open] tbody tr')].map((row) => row.cells[0].innerText)")
    assert rows == ["<img src=x onerror=alert(1)>.tmp", "build/"]  # a name, and no markup
