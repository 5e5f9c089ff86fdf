# SPDX-License-Identifier: GPL-3.0-or-later
"""The window of real devices in a headless Chromium: what a person needs to use it is checked, and pictures are made.

    python -m scripts.window_pictures [--check] [--into FOLDER]

Checked on every part, in light and dark and at a phone's width: names of all controls as a screen reader gets them,
headings, labels, unique ids, contrast, nothing wider than the page, no error and no refusal of the content policy.
Then ways through it with the keyboard alone. Ends with 1 and a list where something is wrong.
"""

from __future__ import annotations

import argparse
import struct
import sys
import zlib
from pathlib import Path
from typing import Final

from support.chromium import Chromium
from support.device import Device, World
from support.wait import until

ROOT: Final = Path(__file__).resolve().parents[1]
WIDE: Final = (1000, 900)
PHONE: Final = (390, 800)
CONTROLS: Final = {"button", "link", "textbox", "combobox", "spinbutton", "checkbox", "searchbox", "image", "img"}
PARTS: Final = (
    "#/",
    "#/files/notes",
    "#/transfers",
    "#/conflicts",
    "#/removals/notes",
    "#/sharing/notes",
    "#/settings",
)

AUDIT: Final = (ROOT / "tests" / "support" / "window_audit.js").read_text()
FOCUS: Final = """(() => {
  const at = document.activeElement;
  const style = getComputedStyle(at);
  const is_seen = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
  return [at.tagName, at.getAttribute("aria-label") || at.innerText || at.id, is_seen];
})()"""
"""What has the focus, and whether that is seen."""
_QUESTION_LEFT: Final = (
    "!document.getElementById('ask').open && document.activeElement.textContent.startsWith('Remove')"
)
_CONTENTS: Final = "document.querySelectorAll('.content img').length === 2 && document.querySelector('ins')"
_PICTURES: Final = "[...document.querySelectorAll('.content img')].every((one) => one.complete && one.naturalWidth)"
_COMPARE: Final = (
    "document.querySelectorAll('main button').forEach((one) => one.textContent === 'Compare' && one.click())"
)
_HISTORY: Final = "[...document.querySelectorAll('h2')].some((one) => one.textContent.startsWith('History of'))"
_READY: Final = {
    "#/files/notes": "document.querySelector('main tbody tr')",
    "#/conflicts": "document.querySelectorAll('.sides').length === 2",
    "#/removals/notes": "document.querySelector('.list li')",
    "#/sharing/notes": "document.querySelectorAll('main tbody tr').length >= 3",
    "#/settings": "document.querySelectorAll('main form').length > 5",
}
"""What is there when a part is."""


def picture(hue: int) -> bytes:
    """A small picture as PNG: a hill before a sky of this colour."""
    width, height = 320, 200
    rows = []
    for y in range(height):
        row = bytearray(b"\0")
        for x in range(width):
            hill = y > 120 + (x - 150) * (x - 150) // 400
            row += bytes((40, 110, 60)) if hill else bytes((hue, 120 + y // 3, 230 - y // 2))
        rows.append(bytes(row))

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"".join(rows))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + data


class Scene:
    """Devices with something to look at: conflicts of text and pictures, a history, held removals, a device that is
    off."""

    def __init__(self, world: World) -> None:
        self.laptop, self.desktop, self.nas = world.sharing("laptop", "desktop", "nas", volume="notes")
        self.laptop.create("photos")
        self.desktop.join(self.laptop.share("photos"))
        here, there = self.laptop.mount("notes"), self.desktop.mount("notes")
        self._write(here)
        self._settled()
        self.nas.down()  # else it tells the one of the other
        self._conflicts(here, there)
        self._removals(here, there)

    def _write(self, here: Path) -> None:
        for folder in ("Garden", "Travel", "archive"):
            (here / folder).mkdir()
        for text in ("Milk\n", "Milk\nBread\n", "Milk\nBread\nApples\n"):
            (here / "shopping.txt").write_text(text)
        (here / "Garden" / "plan.txt").write_text("Beds\n\nNorth: beans\nSouth: tomatoes\nWest: herbs\n")
        (here / "view.png").write_bytes(picture(90))
        (here / "<b>not bold<b>.html").write_text("<script>document.title = 'no'</script>\n")
        for number in range(60):
            (here / "archive" / f"letter {number:02}.txt").write_text(f"Letter {number}\n")

    def _settled(self) -> None:
        until(lambda: all(one.is_settled("notes") for one in (self.laptop, self.desktop)), "all to be everywhere")
        until(self._is_safe, "both others to be complete")

    def _is_safe(self) -> bool:
        return all(one["complete"] for one in self.laptop.volume_status("notes")["devices"])

    def _conflicts(self, here: Path, there: Path) -> None:
        self.desktop.down()
        (here / "Garden" / "plan.txt").write_text("Beds\n\nNorth: beans and peas\nSouth: tomatoes\nWest: herbs\n")
        (here / "view.png").write_bytes(picture(90))
        (here / "view.png").write_bytes(picture(200))
        self.laptop.down()
        self.desktop.up()
        (there / "Garden" / "plan.txt").write_text("Beds\n\nNorth: beans\nSouth: pumpkins\nWest: herbs\nEast: roses\n")
        (there / "view.png").write_bytes(picture(20))
        self.laptop.up()
        until(lambda: len(self.laptop.json("conflicts")) == 2, "both conflicts")
        until(lambda: all(one["here"] for one in self.laptop.json("conflicts")), "their content")

    def _removals(self, here: Path, there: Path) -> None:
        self.laptop.ctl("brake", "notes", "--files", "20", "--percent", "10")
        for path in (there / "archive").iterdir():
            path.unlink()
        until(lambda: self.laptop.volume_status("notes")["held_files"] >= 40, "the removals to be held")


class Check:
    """The page of one device, and what is wrong with it."""

    def __init__(self, page: Chromium, device: Device, into: Path | None) -> None:
        self.page = page
        self.into = into
        self.wrong: list[str] = []
        self.link = device.ctl("ui", "--no-open").out.splitlines()[0]

    def begin(self) -> None:
        self.page.look(*WIDE)
        self.page.open(self.link)
        self.page.until("document.querySelector('.map .device.on')", "the map")
        if self.page.run("location.href").count("link="):
            self.wrong.append("the link stays in the address")

    def go(self, part: str) -> None:
        self.page.run(f"location.hash = {part!r}")
        self.page.until(_READY.get(part, "document.querySelector('main section')"), part)

    def audit(self, where: str) -> None:
        self.wrong += [f"{where}: {complaint}" for complaint in self.page.run(AUDIT)]
        nameless = {role for role, name in self.page.names() if role in CONTROLS and not name.strip()}
        self.wrong += [f"{where}: a {role} without a name" for role in sorted(nameless)]
        self.wrong += [f"{where}: {problem}" for problem in self.page.problems]
        self.page.problems.clear()

    def everywhere(self) -> None:
        for size, scheme in ((WIDE, "light"), (WIDE, "dark"), (PHONE, "light"), (PHONE, "dark")):
            self.page.look(*size, scheme)
            for part in PARTS:
                self.go(part)
                if part == "#/conflicts":
                    self.compare()
                self.audit(f"{part} {scheme} {size[0]}")

    def compare(self) -> None:
        self.page.run(_COMPARE)
        self.page.until(_CONTENTS, "contents")
        self.page.until(_PICTURES, "pictures")

    def shoot(
        self, name: str, part: str, *, size: tuple[int, int] = WIDE, scheme: str = "light", height: int = 0
    ) -> None:
        """Makes a picture of a part; empty: of what is shown now."""
        if self.into is None:
            return
        self.page.look(*size, scheme)
        if part:
            self.go(part)
        self.page.run("document.activeElement.blur(), scrollTo(0, 0)")
        full = int(self.page.run("document.documentElement.scrollHeight"))
        self.page.picture(self.into / f"window-{name}.png", min(full, height or size[1]))

    # ---- ways with the keyboard alone
    def tab_to(self, text: str, most: int = 120) -> None:
        """Presses Tab until what has the focus is called so."""
        passed = []
        for _ in range(most):
            self.page.press("Tab")
            tag, name, is_seen = self.page.run(FOCUS)
            if not is_seen and tag != "BODY":
                self.wrong.append(f"the focus on {tag} {name!r} is not seen")
            if name.strip().startswith(text):
                return
            passed.append(name)
        raise AssertionError(f"Tab never leads to {text!r}: {passed}")

    def keyboard(self) -> None:
        page = self.page
        page.look(*WIDE)
        page.open(page.run("location.origin") + "/")
        page.until("document.querySelector('.map')", "the overview again, after a reload")
        self.tab_to("Skip to the content", 1)
        self.tab_to("Files")
        page.press("Enter")
        page.until("document.activeElement.tagName === 'H1' && document.querySelector('tbody tr')", "the files")
        self.tab_to("Garden/")
        page.press("Enter")
        page.until("location.hash.endsWith('/Garden') && document.querySelector('main td button')", "the folder")
        self.tab_to("History of plan.txt")
        page.press("Enter")
        page.until(_HISTORY, "the history")
        self._decide()
        self._settle()
        self._share()

    def _decide(self) -> None:
        """What is held: the question can be left by Escape, and answered by keys."""
        self.go("#/removals/notes")
        self.tab_to("Remove them here, too")
        self.page.press("Enter")
        self.page.until("document.getElementById('ask').open", "the question")
        self.audit("the question")
        self.page.press("Escape")
        self.page.until(_QUESTION_LEFT, "the way back")
        self.go("#/")
        self.go("#/removals/notes")
        self.tab_to("Keep them")
        self.page.press("Enter")
        self.page.until("document.querySelector('main').innerText.includes('Nothing is held')", "the decision")

    def _settle(self) -> None:
        self.go("#/conflicts")
        self.tab_to("Keep this one: copy 1")
        self.page.press(" ")
        self.page.until("document.querySelectorAll('.sides').length === 1", "one conflict to be settled")
        self.page.until("document.getElementById('told').textContent.includes('settled')", "it to be said")

    def _share(self) -> None:
        self.go("#/sharing/notes")
        self.tab_to("Make a ticket")
        self.page.press("Enter")
        self.page.until("document.querySelector('.qr path')", "the QR code")
        self.audit("a ticket")
        if not self.page.run("document.querySelector('main textarea').value.startsWith('holofs1')"):
            self.wrong.append("there is no ticket")


def main() -> int:
    parser = argparse.ArgumentParser(description="Checks the window in a headless Chromium, and makes its pictures.")
    parser.add_argument("--check", action="store_true", help="make no pictures")
    parser.add_argument("--into", type=Path, default=ROOT / "docs", metavar="FOLDER", help="where pictures go (docs)")
    told = parser.parse_args()
    with World() as world:
        scene = Scene(world)
        with Chromium() as page:
            check = Check(page, scene.laptop, None if told.check else told.into)
            check.begin()
            check.everywhere()
            check.shoot("overview", "#/", height=1050)
            check.shoot("dark", "#/", scheme="dark")
            check.shoot("phone", "#/", size=PHONE, height=1400)
            check.go("#/conflicts")
            check.compare()
            check.shoot("conflicts", "", height=1100)
            check.keyboard()
            check.shoot("sharing", "", height=1150)
    for complaint in check.wrong:
        print(complaint)
    print(f"The window: {len(check.wrong)} complaints.")
    return 1 if check.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
