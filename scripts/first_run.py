# SPDX-License-Identifier: GPL-3.0-or-later
"""Times the first run of a newcomer, from `git clone` to a file on a second device of this machine.

`scripts/first_run --help` says how. It needs Python and git alone, as a newcomer has them.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
ALLOWED_S: Final = 120.0
ARRIVED: Final = "written on the laptop"
"""Line that the demo prints once the desktop reads what the laptop wrote."""
LAST: Final = "written while the desktop was off"
_BLOCK: Final = re.compile(r"<!-- demo.*?-->\n```bash\n(.*?)```", re.DOTALL)
# What a demo that fails has started is stopped; the trap is no part of the README.
_BEFORE: Final = """
cleaned=
trap '[ -n "$cleaned" ] || { laptop down; desktop down; } >/dev/null 2>&1 || true' EXIT
"""


def demo_of(readme: str) -> tuple[str, str]:
    """The commands of the demo with two devices, and those that clean up behind it. Raises ValueError where the README
    has no such two blocks."""
    demo, clean_up = _BLOCK.findall(readme)
    return demo, clean_up


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/first_run",
        description="Clones HoloFS, pastes the demo of its README, and says after how many seconds a file was on the"
        f" second device. Exit code 1 if that took more than {ALLOWED_S:.0f} s, or if it was not there.",
    )
    parser.add_argument("repository", nargs="?", default=str(ROOT), help="what is cloned; this checkout by default")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="holofs-first-") as folder:
        return first_run(asked.repository, Path(folder))


def first_run(repository: str, folder: Path) -> int:
    """Runs in an empty folder, which is the newcomer's home as well. Returns the exit code."""
    began = time.monotonic()
    subprocess.run(["git", "clone", "--quiet", repository, folder / "holofs"], check=True)
    demo, clean_up = demo_of((folder / "holofs" / "README.md").read_text("utf-8"))
    cloned = time.monotonic() - began
    seen: dict[str, float] = {}
    with subprocess.Popen(
        ["bash", "-e", "-u", "-c", f"{_BEFORE}{demo}{clean_up}cleaned=yes\n"],
        cwd=folder / "holofs",
        env=_environment(folder),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    ) as pasted:
        assert pasted.stdout is not None
        for line in pasted.stdout:
            sys.stdout.write(line)
            sys.stdout.flush()
            seen.setdefault(line.strip(), time.monotonic() - began)
    took = time.monotonic() - began
    if pasted.returncode or ARRIVED not in seen or LAST not in seen:
        sys.stderr.write(f"first_run: the demo ended with {pasted.returncode}; the file was not where it should be.\n")
        return 1
    arrived = seen[ARRIVED]
    # What it would take on a machine that does nothing else: beside others a second of work takes longer.
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    sys.stdout.write(
        f"\nFrom clone to a file on the second device: {arrived:.1f} s (allowed: {ALLOWED_S:.0f} s); the clone took"
        f" {cloned:.1f} s, the whole demo {took:.1f} s, and {used.ru_utime + used.ru_stime:.1f} s of a processor.\n"
    )
    return 0 if arrived <= ALLOWED_S else 1


def _environment(home: Path) -> dict[str, str]:
    """A newcomer's environment: no setting of HoloFS and nothing in pip's cache. Where pip asks stays as it is here."""
    names = ("PIP_CACHE_DIR", "PYTHONPATH", "VIRTUAL_ENV")
    kept = {n: value for n, value in os.environ.items() if n not in names and not n.startswith(("HOLOFS_", "XDG_"))}
    configured = Path("~/.config/pip/pip.conf").expanduser()
    if configured.exists():
        kept.setdefault("PIP_CONFIG_FILE", str(configured))
    return {**kept, "HOME": str(home), "TMPDIR": str(home)}


if __name__ == "__main__":
    sys.exit(main())
