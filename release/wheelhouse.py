# SPDX-License-Identifier: GPL-3.0-or-later
"""The locked dependencies for one Python: as they are fetched, and all of them as wheels.

Versions and hashes are those of `requirements/`. Packages that come as source are built here, without pip's cache of
what earlier builds with other compilers and options left.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from release.tree import ROOT

_REQUIREMENTS = ROOT / "requirements"


@dataclass(frozen=True, slots=True)
class Wheelhouse:
    fetched: Path
    """Folder of wheels and source archives, those of the build tools among them."""
    wheels: list[Path]
    """Wheels of all that HoloFS needs at run time, without HoloFS itself."""


def gather(python: str, into: Path, when: int) -> Wheelhouse:
    """Asks the package index that pip is configured with. `into`: an empty folder."""
    fetched, wheels, tools = into / "fetched", into / "wheels", into / "tools"
    subprocess.run([python, "-m", "venv", "--without-pip", str(tools)], check=True)
    build, run = (("--require-hashes", "-r", str(_REQUIREMENTS / f"{name}.txt")) for name in ("build", "run"))
    local = ("--no-index", "--find-links", str(fetched))
    _pip(tools, when, "download", "--only-binary=:all:", "--dest", str(fetched), *build)
    _pip(tools, when, "install", *local, *build)
    _pip(tools, when, "download", "--no-build-isolation", "--dest", str(fetched), *run)
    # What pip of Debian 12 asks for by itself, to build a package that does not say what it is built with.
    _pip(tools, when, "download", "--no-deps", "--only-binary=:all:", "--dest", str(fetched), "wheel")
    _pip(tools, when, "wheel", "--no-cache-dir", "--no-build-isolation", "--wheel-dir", str(wheels), *local, *run)
    return Wheelhouse(fetched, sorted(wheels.iterdir()))


def _pip(environment: Path, when: int, command: str, *arguments: str) -> None:
    # Debug information holds the path of the folder that was built in.
    variables = {**os.environ, "SOURCE_DATE_EPOCH": str(when), "CFLAGS": "-g0"}
    pip = [sys.executable, "-m", "pip", "--python", str(environment), "--quiet", "--disable-pip-version-check"]
    done = subprocess.run([*pip, command, *arguments], env=variables, text=True, capture_output=True, check=False)
    if done.returncode:
        raise SystemExit(f"pip could not fetch or build the dependencies ({command}):\n{done.stderr[-3000:]}")
