# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes `requirements/*.txt`: every package that HoloFS is installed with, by version and by the hashes of its files.

`scripts/lock` asks the package index that pip is configured with, for each supported Python and processor; nothing is
installed. `--check` asks nobody: it says whether the files still belong to `pyproject.toml`, and whether what they name
satisfies it. `--upgrade` takes the newest versions; without it versions that are locked stay where they fit.

Packages that come only as source are named here (`SOURCES`). They, and HoloFS itself, are built without isolation, with
the tools of `requirements/build.txt`: pip checks no hashes of what it fetches for a build of its own.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT: Final = Path(__file__).resolve().parents[1]
FOLDER: Final = "requirements"
PYTHONS: Final = ("3.11", "3.12", "3.13", "3.14")
PROCESSORS: Final = ("x86_64", "aarch64")
GLIBC: Final = (
    "manylinux_2_17",
    "manylinux2014",
    "manylinux_2_24",
    "manylinux_2_26",
    "manylinux_2_27",
    "manylinux_2_28",
)
SOURCES: Final = ("fusepy", "pyfuse3")
SETS: Final = {"run": ("fuse3",), "dev": ("fuse3", "dev"), "bench": ("fuse3", "bench"), "build": ()}
"""Each file, with the extras that it has beyond what every installation needs; `build`: what
building from source needs."""
_TIMEOUT_S: Final = 900
_DIGEST: Final = "# made from: "


@dataclass(frozen=True, slots=True)
class Target:
    python: str
    processor: str

    def environment(self, extra: str) -> dict[str, str]:
        """What markers of requirements are about."""
        return {
            "python_version": self.python,
            "python_full_version": f"{self.python}.0",
            "implementation_name": "cpython",
            "implementation_version": f"{self.python}.0",
            "platform_python_implementation": "CPython",
            "sys_platform": "linux",
            "os_name": "posix",
            "platform_system": "Linux",
            "platform_machine": self.processor,
            "platform_release": "",
            "platform_version": "",
            "extra": extra,
        }

    def applies(self, requirement: Requirement, extras: Iterable[str] = ("",)) -> bool:
        marker = requirement.marker
        return marker is None or any(marker.evaluate(self.environment(extra)) for extra in (*extras, ""))


TARGETS: Final = tuple(Target(python, processor) for python in PYTHONS for processor in PROCESSORS)


@dataclass(slots=True)
class Package:
    """One package at one version, as far as it is known: its files' hashes, and what it needs itself."""

    name: str
    version: str
    hashes: set[str]
    needs: list[Requirement]


Found = dict[str, Package]
"""By canonical name."""


@dataclass(slots=True)
class Pin:
    """One line of a file: a version, where it is needed, and the hashes of its files for all of that."""

    version: str
    hashes: set[str] = field(default_factory=set)
    pythons: set[str] = field(default_factory=set)


# ---- what is asked for
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def roots(told: dict[str, Any], name: str) -> list[Requirement]:
    """What `pyproject.toml` asks for in one of the sets."""
    if name == "build":
        return [Requirement(text) for text in told["build-system"]["requires"]]
    texts = list(told["project"]["dependencies"])
    for extra in SETS[name]:
        texts += told["project"]["optional-dependencies"][extra]
    return [Requirement(text) for text in texts]


def digest(told: dict[str, Any]) -> str:
    """Of all that decides what is locked."""
    asked = {name: sorted(map(str, roots(told, name))) for name in SETS}
    return hashlib.sha256(json.dumps([asked, PYTHONS, PROCESSORS, SOURCES], sort_keys=True).encode()).hexdigest()


# ---- what the index says
def _pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    if done.returncode:
        raise SystemExit(f"scripts/lock: pip cannot say what to install:\n{done.stderr[-3000:]}")


def _report(arguments: Sequence[str]) -> Found:
    with tempfile.TemporaryDirectory(prefix="holofs-lock-") as folder:
        report = Path(folder, "report.json")
        target = ("--target", folder, "--dry-run", "--ignore-installed", "--report", str(report))
        _pip("install", *target, *arguments)
        installs = json.loads(report.read_text())["install"]
    found: Found = {}
    for item in installs:
        about = item["metadata"]
        needs = [Requirement(text) for text in about.get("requires_dist", ())]
        hashes = item["download_info"]["archive_info"]["hashes"]
        package = Package(about["name"], about["version"], {hashes["sha256"]}, needs)
        found[canonicalize_name(package.name)] = package
    return found


def sources(asked: Iterable[Requirement], limits: Path) -> tuple[Found, list[Requirement]]:
    """The packages that come as source, and what building them needs."""
    mine = [str(r) for r in asked if canonicalize_name(r.name) in SOURCES]
    found = _report(["--no-deps", "--no-binary", ",".join(SOURCES), "--constraint", str(limits), *mine])
    tools: dict[str, Requirement] = {}
    with tempfile.TemporaryDirectory(prefix="holofs-lock-") as folder:
        exact = [f"{package.name}=={package.version}" for package in found.values()]
        _pip("download", "--no-deps", "--no-binary", ",".join(SOURCES), "--dest", folder, *exact)
        for archive in sorted(Path(folder).glob("*.tar.gz")):
            with tarfile.open(archive) as opened:
                top = opened.getnames()[0].split("/")[0]
                if f"{top}/pyproject.toml" in opened.getnames():
                    file = opened.extractfile(f"{top}/pyproject.toml")
                    assert file is not None
                    for text in tomllib.loads(file.read().decode())["build-system"]["requires"]:
                        tools[text] = Requirement(text)
    return found, list(tools.values())


def wheels(target: Target, asked: Iterable[Requirement], limits: Path) -> Found:
    """All that is needed on one target, as pip resolves it; wheels alone."""
    platforms = [part for tag in GLIBC for part in ("--platform", f"{tag}_{target.processor}")]
    texts = sorted({str(r) for r in asked if canonicalize_name(r.name) not in SOURCES and target.applies(r)})
    options = ["--only-binary=:all:", "--python-version", target.python, *platforms, "--constraint", str(limits)]
    return _report([*options, *(re.sub(r";.*", "", text) for text in texts)])


def needed(target: Target, asked: Iterable[Requirement], found: Found) -> set[str]:
    """The names of what these requirements lead to on one target."""
    seen: set[tuple[str, str]] = set()
    todo = [(canonicalize_name(r.name), extra) for r in asked if target.applies(r) for extra in ("", *r.extras)]
    while todo:
        name, extra = item = todo.pop()
        if item in seen:
            continue
        seen.add(item)
        for r in found[name].needs:
            if target.applies(r, (extra,)):
                todo += [(canonicalize_name(r.name), inner) for inner in ("", *r.extras)]
    return {name for name, _ in seen}


# ---- the files
def lock(*, upgrade: bool) -> None:
    told = project()
    asked = {name: roots(told, name) for name in SETS}
    with tempfile.TemporaryDirectory(prefix="holofs-lock-") as folder:
        limits = Path(folder, "limits.txt")
        limits.write_text("" if upgrade else "".join(f"{line}\n" for line in _locked_versions()))
        from_source, tools = sources((r for group in asked.values() for r in group), limits)
        asked["build"] += tools
        everything = [r for group in asked.values() for r in group]
        everything += [r for package in from_source.values() for r in package.needs]
        pins: dict[str, dict[str, list[Pin]]] = {name: {} for name in SETS}
        for target in TARGETS:
            sys.stderr.write(f"Python {target.python} on {target.processor}\n")
            found = {**wheels(target, everything, limits), **from_source}
            for name in SETS:
                for package in sorted(needed(target, asked[name], found)):
                    _note(pins[name].setdefault(package, []), found[package], target)
            known = limits.read_text().splitlines()
            new = [f"{p.name}=={p.version}" for n, p in sorted(found.items()) if not _names(known, n)]
            limits.write_text("".join(f"{line}\n" for line in (*known, *new)))
    (ROOT / FOLDER).mkdir(exist_ok=True)
    for name in SETS:
        (ROOT / FOLDER / f"{name}.txt").write_text(_text(pins[name], digest(told)))


def _names(lines: Iterable[str], name: str) -> bool:
    return any(canonicalize_name(line.partition("==")[0]) == name for line in lines)


def _note(pins: list[Pin], package: Package, target: Target) -> None:
    pin = next((pin for pin in pins if pin.version == package.version), None)
    if pin is None:
        pin = Pin(package.version)
        pins.append(pin)
    pin.hashes |= package.hashes
    pin.pythons.add(target.python)


def _text(pins: dict[str, list[Pin]], made_from: str) -> str:
    lines = [
        "# SPDX-License-Identifier: GPL-3.0-or-later",
        "# Written by scripts/lock; do not edit.",
        f"{_DIGEST}{made_from}",
    ]
    for name in sorted(pins):
        for pin in pins[name]:
            some = sorted(pin.pythons, key=PYTHONS.index)
            marker = "" if len(some) == len(PYTHONS) else " ; " + " or ".join(f'python_version == "{p}"' for p in some)
            lines.append(f"{name}=={pin.version}{marker} \\")
            lines += [f"    --hash=sha256:{value} \\" for value in sorted(pin.hashes)]
            lines[-1] = lines[-1].removesuffix(" \\")
    return "\n".join(lines) + "\n"


def read(name: str) -> list[Requirement]:
    """The lines of a file, without their hashes. Raises OSError."""
    text = (ROOT / FOLDER / f"{name}.txt").read_text()
    return [Requirement(line.removesuffix("\\")) for line in text.splitlines() if line[:1] not in ("", "#", " ")]


def _locked_versions() -> list[str]:
    lines: dict[str, str] = {}
    for name in SETS:
        if (ROOT / FOLDER / f"{name}.txt").exists():
            lines |= {r.name: f"{r.name}{r.specifier}" for r in read(name) if r.marker is None}
    return sorted(lines.values())


# ---- the check
def complaints() -> list[str]:
    """What is wrong with the files, each as a sentence; looks at them and at `pyproject.toml` alone."""
    told = project()
    found = []
    for name in SETS:
        try:
            text = (ROOT / FOLDER / f"{name}.txt").read_text()
        except OSError:
            found.append(f"{FOLDER}/{name}.txt is missing: run scripts/lock.")
            continue
        if f"{_DIGEST}{digest(told)}" not in text.splitlines():
            found.append(f"{FOLDER}/{name}.txt does not belong to pyproject.toml any more: run scripts/lock.")
        found += [f"{FOLDER}/{name}.txt: {what}: run scripts/lock." for what in _unsatisfied(name, roots(told, name))]
        blocks = re.split(r"\n(?=\S)", text)
        bare = [block.split()[0] for block in blocks if not block.startswith("#") and "--hash=sha256:" not in block]
        found += [f"{FOLDER}/{name}.txt: {package} has no hash: run scripts/lock." for package in bare]
    return found


def _unsatisfied(name: str, asked: Iterable[Requirement]) -> list[str]:
    pinned = read(name)
    wrong = []
    for target in TARGETS:
        here = {canonicalize_name(r.name): r for r in pinned if target.applies(r)}
        for r in asked:
            pin = here.get(canonicalize_name(r.name))
            if not target.applies(r):
                continue
            version = next(iter(pin.specifier)).version if pin is not None else ""
            if not version or not r.specifier.contains(version, prereleases=True):
                wrong.append(f"nothing there satisfies `{r}`")
    return sorted(set(wrong))


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/lock", description="Locks what HoloFS is installed with.")
    parser.add_argument("--check", action="store_true", help="only say whether the files are current; asks no index")
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions")
    asked = parser.parse_args()
    if not asked.check:
        lock(upgrade=asked.upgrade)
    found = complaints()
    sys.stderr.write("".join(f"{sentence}\n" for sentence in found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
