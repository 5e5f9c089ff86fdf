# SPDX-License-Identifier: GPL-3.0-or-later
"""The baselines by name, what each needs, and getting that."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from typing import Final

from benchmarks.stage import ROOT


@dataclass(frozen=True, slots=True)
class Baseline:
    name: str
    what: str
    program: str = ""
    """Program on the PATH; empty where nothing needs to be installed. Debian's package has the same name."""

    @property
    def is_here(self) -> bool:
        return not self.program or shutil.which(self.program) is not None


MOUNTS: Final = ("bare", "bindfs", "rclone")
SYNCS: Final = ("syncthing", "syncthing-told", "rsync")
BASELINES: Final = {
    baseline.name: baseline
    for baseline in (
        Baseline("bare", "a passthrough with the same binding and options as ours, that does nothing else"),
        Baseline("bindfs", "a passthrough in C", "bindfs"),
        Baseline("rclone", "rclone mount --vfs-cache-mode writes, of a local directory", "rclone"),
        Baseline("syncthing", "two instances on loopback, as they come", "syncthing"),
        Baseline("syncthing-told", "the same, told at once to look instead of after fsWatcherDelayS", "syncthing"),
        Baseline("tcp", "one TCP connection with Cubic over the same line, from memory to memory, for up to 10 s"),
        Baseline("rsync", "to an rsync daemon on loopback, started as soon as the files are written", "rsync"),
    )
}


def install(names: list[str]) -> None:
    """Asks `scripts/setup` for the programs that are not here. It says itself what it cannot do."""
    missing = sorted({BASELINES[name].program for name in names if not BASELINES[name].is_here})
    if missing:
        subprocess.run([ROOT / "scripts" / "setup", "--programs", *missing], check=False)
