# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds a release into `dist/`. `scripts/release --help` says how."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from release import deb, dists, tree, trial, wheelhouse
from release.tree import ROOT


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/release",
        description="Builds sdist, wheel and Debian package of the last commit into dist/. The same commit gives the"
        " same bytes, on the same release of Debian.",
    )
    parser.add_argument(
        "--try",
        dest="tries",
        action="store_true",
        help="install and use each in a clean root, and time the first run of a clone; as root",
    )
    asked = parser.parse_args()
    if changed := tree.uncommitted():
        raise SystemExit(f"A release is of a commit, and these files are not as in it: {', '.join(changed)}.")
    with tempfile.TemporaryDirectory(prefix="holofs-release-") as folder:
        fetched = build(Path(folder), ROOT / "dist")
        if asked.tries:
            trial.try_all(ROOT / "dist", fetched)
            return subprocess.run([ROOT / "scripts" / "first_run"], check=False).returncode
    return 0


def build(folder: Path, dist: Path) -> Path:
    """Builds into `dist`, which is emptied before; the folder of what was fetched for it."""
    when, copy, system = tree.commit_time(), folder / "tree", deb.this_system()
    shutil.rmtree(dist, ignore_errors=True)
    tree.copy(copy, when)
    sdist, wheel = dists.build(copy, dist, when)
    house = wheelhouse.gather(system.python, folder / "house", when)
    package = deb.build(copy, [*house.wheels, wheel], system, dist, when)
    for path in (sdist, wheel, package):
        sys.stdout.write(f"{path.relative_to(ROOT)}\n")
    sys.stdout.flush()
    return house.fetched


if __name__ == "__main__":
    sys.exit(main())
