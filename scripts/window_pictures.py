# SPDX-License-Identifier: GPL-3.0-or-later
"""The window of a made-up device in a headless Chromium: each part is checked, and the pictures of docs/window.md are
made. Ends with 1 and a list where something is wrong."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Final

from support.chromium import Chromium
from tests.window.conftest import Window, running_window

ROOT: Final = Path(__file__).resolve().parents[1]
AUDIT: Final = (ROOT / "tests" / "support" / "window_audit.js").read_text()
CONTROLS: Final = {"button", "link", "textbox", "combobox", "spinbutton"}
PARTS: Final = ("#/", "#/files/docs", "#/transfers", "#/conflicts", "#/removals/docs", "#/sharing/docs", "#/settings")
LOOKS: Final = ((1000, 900, "light"), (1000, 900, "dark"), (390, 800, "light"), (390, 800, "dark"))
PICTURES: Final = {
    ("#/", 1000, "light"): "overview",
    ("#/", 1000, "dark"): "dark",
    ("#/", 390, "light"): "phone",
    ("#/sharing/docs", 1000, "light"): "sharing",
}


def look(window: Window) -> list[str]:
    """Shows every part in every look. Returns what is wrong."""
    wrong = []
    with Chromium() as page:
        page.look(*LOOKS[0])
        page.open(window.link())
        page.until("document.querySelector('.map')", "the map")
        if "link=" in page.run("location.href"):
            wrong.append("the link stays in the address")
        for width, height, scheme in LOOKS:
            page.look(width, height, scheme)
            for part in PARTS:
                page.run(f"location.hash = {part!r}")
                page.run("new Promise((done) => setTimeout(done, 400))")
                nameless = {role for role, name in page.names() if role in CONTROLS and not name.strip()}
                found = [*page.run(AUDIT), *page.problems, *(f"a {role} without a name" for role in nameless)]
                wrong += [f"{part} {width} {scheme}: {complaint}" for complaint in found]
                page.problems.clear()
                if name := PICTURES.get((part, width, scheme)):
                    page.picture(ROOT / "docs" / f"window-{name}.png", height)
    return wrong


async def checked() -> list[str]:
    with tempfile.TemporaryDirectory(prefix="hfs-window-") as folder:
        async with running_window(Path(folder)) as window:
            return await asyncio.to_thread(look, window)


def main() -> int:
    wrong = asyncio.run(checked())
    print("\n".join([*wrong, f"The window: {len(wrong)} complaints."]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
