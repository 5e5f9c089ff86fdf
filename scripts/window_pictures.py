# SPDX-License-Identifier: GPL-3.0-or-later
"""The window of a real device in a headless Chromium: each part is checked, what a person does most is done with the
keyboard alone, and the pictures of docs/window.md are made. Ends with 1 and a list where something is wrong."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from support.chromium import Chromium
from support.device import Device, World
from support.wait import until

ROOT: Final = Path(__file__).resolve().parents[1]
AUDIT: Final = (ROOT / "tests" / "support" / "window_audit.js").read_text()
CONTROLS: Final = {"button", "link", "textbox", "combobox", "spinbutton"}
PARTS: Final = (
    *("#/", "#/files/photos", "#/files/photos/2024", "#/transfers", "#/conflicts", "#/removals/photos"),
    *("#/sharing/photos", "#/settings"),
)
LOOKS: Final = ((1000, 900, "light"), (1000, 900, "dark"), (390, 800, "light"), (390, 800, "dark"))
PICTURES: Final = {
    ("#/", 1000, "light"): "overview",
    ("#/", 1000, "dark"): "dark",
    ("#/files/photos/2024", 390, "light"): "phone",
    ("#/sharing/photos", 1000, "light"): "sharing",
}
MOST_TABS: Final = 60
ACTIVE: Final = "(document.activeElement.getAttribute('aria-label') || document.activeElement.textContent || '').trim()"
SETTLED: Final = "new Promise((done) => setTimeout(done, 600))"


def prepared(world: World) -> Device:
    """A device that shares a volume with another one: with files, a conflict and something in the trash."""
    lap, desk = world.sharing("lap", "desk", volume="photos")
    for device in (lap, desk):
        device.ctl("device", "name", device.name)
    here, there = lap.mount("photos"), desk.mount("photos")
    (here / "2024").mkdir()
    for number in range(1, 5):
        (here / "2024" / f"harbour {number}.jpg").write_bytes(bytes(range(256)) * 400 * number)
    (here / "notes.txt").write_text("Bread, milk\n")
    until(lambda: (there / "notes.txt").exists() and desk.is_settled("photos"), "the files on the other device")
    lap.ctl("pause")
    (here / "notes.txt").write_text("Bread, milk, apples\n")
    (there / "notes.txt").write_text("Bread, butter\n")
    lap.ctl("resume")
    until(lambda: lap.volume_status("photos")["conflicts"], "the conflict")
    (here / "2024" / "harbour 4.jpg").unlink()
    until(lambda: desk.is_settled("photos") and lap.is_settled("photos"), "both to be done")
    return lap


def looked_at(page: Chromium) -> list[str]:
    """Shows every part in every look. Returns what is wrong."""
    wrong = []
    for width, height, scheme in LOOKS:
        page.look(width, height, scheme)
        for part in PARTS:
            page.run(f"location.hash = {part!r}")
            page.run(SETTLED)
            nameless = {role for role, name in page.names() if role in CONTROLS and not name.strip()}
            found = [*page.run(AUDIT), *page.problems, *(f"a {role} without a name" for role in nameless)]
            wrong += [f"{part} {width} {scheme}: {complaint}" for complaint in found]
            page.problems.clear()
            if name := PICTURES.get((part, width, scheme)):
                page.picture(ROOT / "docs" / f"window-{name}.png", height)
    return wrong


def used_by_keys(page: Chromium, device: Device) -> list[str]:
    """Goes through the window with Tab and Enter alone. Returns what cannot be reached, or has no effect."""
    page.look(*LOOKS[0])
    page.run("location.hash = '#/'")
    page.run(SETTLED)
    for part, button, effect in (
        ("Sharing", "Make a ticket", "document.querySelector('.qr svg')"),
        ("Conflicts", "Compare", "document.querySelector('main').textContent.includes('apples')"),
        ("Conflicts", "Keep this one", "document.querySelector('main').textContent.includes('No conflicts')"),
    ):
        for goal in (part, button):
            if not _tab_to(page, goal):
                return [f"keys: {goal!r} is not reached in {MOST_TABS} steps"]
            page.press("Enter")
            page.run(SETTLED)
        page.until(effect, f"{button!r} by keys")
    return ["keys: the conflict is not settled"] if device.volume_status("photos")["conflicts"] else []


def _tab_to(page: Chromium, text: str) -> bool:
    for _ in range(MOST_TABS):
        page.press("Tab")
        if page.run(ACTIVE).startswith(text):
            return True
    return False


def main() -> int:
    with World() as world, Chromium() as page:
        device = prepared(world)
        page.look(*LOOKS[0])
        page.open(device.ctl("ui", "--no-open").out.splitlines()[0])
        page.until("document.querySelector('.map')", "the map")
        wrong = ["the link stays in the address"] if "link=" in page.run("location.href") else []
        page.press("Tab")
        if (first := page.run(ACTIVE)) != "Skip to the content":
            wrong.append(f"keys: the first Tab leads to {first!r}")
        wrong += [*looked_at(page), *used_by_keys(page, device)]
    print("\n".join([*wrong, f"The window: {len(wrong)} complaints."]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
