# SPDX-License-Identifier: GPL-3.0-or-later
"""FUSE bindings: which of them this machine can use and, for each that it cannot, what is missing and what installs it.

pyfuse3 (libfuse 3) is preferred. fusepy (libfuse 2) comes with every installation, because it needs no compiler;
pyfuse3 is built from source and may be absent. `python -m holofs_mount.bindings` answers one JSON object for programs
that must not load either: `binding` (empty: none can be used), its `version`, and the `explanation`, one sentence.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Final

from holofs_api.packages import installing
from holofs_api.shell import shell_word
from holofs_mount.options import EXIT_FUSE, MountError

MODULES: Final = {"pyfuse3": "pyfuse3", "fusepy": "fuse"}
"""The module of each binding, in the order of preference."""
UNMOUNTERS: Final = {"pyfuse3": ("fusermount3", "fusermount"), "fusepy": ("fusermount", "fusermount3")}
_LIBRARY_PACKAGES: Final = {"pyfuse3": "fuse3", "fusepy": "libfuse2"}
"""Debian's packages that bring the libraries; libfuse 3 comes with the programs."""


@dataclass(frozen=True, slots=True)
class Lack:
    """Requirement of a binding that is missing here."""

    binding: str
    what: str
    packages: tuple[str, ...]
    command: str = ""
    """Command to run behind the installation of the packages; empty: none."""

    @property
    def remedy(self) -> str:
        steps = [installing(self.packages)] if self.packages else []
        steps += [f"{'then' if steps else 'run'} `{self.command}`"] if self.command else []
        return ", ".join(steps)


@dataclass(frozen=True, slots=True)
class UsableBinding:
    """Binding that a mount uses, and its program that unmounts. `lacks`: why preferred ones are not used."""

    binding: str
    unmounter: str
    lacks: tuple[Lack, ...]

    @property
    def sentence(self) -> str:
        used = f"Mounts use {self.binding} {_version(self.binding)}"
        if not self.lacks:
            return f"{used}."
        (lack,) = self.lacks
        return f"{used}, which is slower, because {lack.what}: for {lack.binding}, {lack.remedy}."


def choose(wanted: str = "auto") -> UsableBinding:
    """The binding asked for, or the first that this machine can use. Raises MountError, naming all that is missing."""
    lacks: list[Lack] = []
    for name in MODULES if wanted == "auto" else (wanted,):
        lack = _lack_of(name)
        if lack is None:
            return UsableBinding(name, _unmounter(name), tuple(lacks))
        lacks.append(lack)
    # The last one is the cheapest to mend: fusepy needs no compiler.
    needed = lacks[-1]
    parts = [needed.what]
    packages = [*needed.packages]
    if _found(UNMOUNTERS[needed.binding]) is None:
        parts.append("fusermount3 is missing")
        packages.insert(0, "fuse3")
    raise _refused(" and ".join(parts), Lack(needed.binding, "", tuple(packages), needed.command).remedy)


def load(name: str) -> ModuleType:
    """The adapter of a binding that was chosen."""
    return importlib.import_module(f"holofs_mount.{name}_binding")


def _unmounter(binding: str) -> str:
    """Program that unmounts for users other than root. Raises MountError where it is not installed."""
    found = _found(UNMOUNTERS[binding])
    if found is None:
        raise _refused("fusermount3 is missing", installing(["fuse3"]))
    return found


def _found(programs: Sequence[str]) -> str | None:
    return next(filter(None, map(shutil.which, programs)), None)


def _refused(what: str, remedy: str) -> MountError:
    return MountError(f"Nothing can be mounted here, because {what}: {remedy}.", EXIT_FUSE)


def _lack_of(binding: str) -> Lack | None:
    module = MODULES[binding]
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            return Lack(binding, f"{binding} cannot be loaded ({error})", (), _installer(binding))
        return Lack(binding, f"{binding} is not installed", _missing_for_building(binding), _installer(binding))
    except (ImportError, OSError) as error:  # fusepy raises OSError where it finds no library
        library = re.match(r"lib[\w.+-]+\.so[\w.]*", str(error))
        name = library[0] if library else {"pyfuse3": "libfuse 3", "fusepy": "libfuse 2 (libfuse.so.2)"}[binding]
        return Lack(binding, f"{name}, which {binding} needs, is missing", (_LIBRARY_PACKAGES[binding],))
    return None


def _missing_for_building(binding: str) -> tuple[str, ...]:
    return tuple(_build_packages()) if binding == "pyfuse3" else ()


def _build_packages() -> Iterator[str]:
    """Debian's packages without which pyfuse3 cannot be built here."""
    if _found(("cc", "gcc")) is None:
        yield "gcc"
    if _found(("pkg-config",)) is None:
        yield "pkg-config"
    if not os.path.exists("/usr/include/fuse3/fuse.h"):
        yield "libfuse3-dev"
    if not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")):
        yield "python3-dev"


def _installer(binding: str) -> str:
    """Command that adds a binding to the environment that HoloFS is installed in."""
    asked = shell_word(_requirement(binding))
    if Path(sys.prefix, "pipx_metadata.json").exists():  # such an environment has no pip of its own
        return f"pipx inject {shell_word(Path(sys.prefix).name)} {asked}"
    return f"{shell_word(sys.executable)} -m pip install {asked}"


def _requirement(binding: str) -> str:
    """Requirement of the package for a binding, like `pyfuse3<4,>=3.4`, without the conditions."""
    try:
        asked = metadata.requires("holofs") or []
    except metadata.PackageNotFoundError:
        asked = []
    return next((line.split(";")[0].strip() for line in asked if line.startswith(binding)), binding)


def _version(binding: str) -> str:
    try:
        return metadata.version(binding)
    except metadata.PackageNotFoundError:
        return "of an unknown version"


def main() -> None:
    try:
        choice = choose()
        told = {"binding": choice.binding, "version": _version(choice.binding), "explanation": choice.sentence}
    except MountError as error:
        told = {"binding": "", "version": "", "explanation": str(error)}
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main()
