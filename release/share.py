# SPDX-License-Identifier: GPL-3.0-or-later
"""Files for `share`, made by the programs: manual pages, completions and the user units.

A program of its own (`python -m release.share FOLDER`), because it has to import the tree that it is about.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from holofsctl.completion import script
from holofsctl.login_files import packaged_units
from holofsctl.parser import build
from scripts import man

COMPLETIONS: Final = {
    "bash": "bash-completion/completions/holofsctl",
    "zsh": "zsh/site-functions/_holofsctl",
    "fish": "fish/vendor_completions.d/holofsctl.fish",
}
UNITS: Final = ("systemd/user/holofsd.service", "systemd/user/holofsd.socket")
"""In the Debian package alone: where else the programs are is known only once they are installed."""


def main(folder: Path) -> None:
    man.main(folder / "man" / "man1")
    files = {place: script(build(), shell) + "\n" for shell, place in COMPLETIONS.items()}
    units = packaged_units("/usr/bin/holofsd")
    files |= {place: units[Path(place).name] for place in UNITS}
    for place, text in files.items():
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_text(text, "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
