# SPDX-License-Identifier: GPL-3.0-or-later
"""Parts of a release: every file that the programs need is in the sdist, in the wheel and in the Debian package.

They are built without the network, and the Debian package without its dependencies. `scripts/release --try` installs
real ones.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from email.parser import Parser
from importlib import metadata
from pathlib import Path

import pytest

from holofs_api import VERSION
from release import deb, dists, tree
from support.sources import PACKAGES, ROOT, tracked_files

PROGRAMS = {entry.name for entry in metadata.distribution("holofs").entry_points if entry.group == "console_scripts"}
MANUALS = ("holofsctl", "holofsd", "holofs-mount", "mount.fuse.holofs")
SHARED = {
    *(f"share/man/man1/{name}.1" for name in MANUALS),
    "share/bash-completion/completions/holofsctl",
    "share/zsh/site-functions/_holofsctl",
    "share/fish/vendor_completions.d/holofsctl.fish",
}


@dataclass(frozen=True)
class Release:
    tree: Path
    sdist: Path
    wheel: Path
    when: int


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    folder, when = tmp_path_factory.mktemp("release"), tree.commit_time()
    tree.copy(folder / "tree", when)
    return Release(folder / "tree", *dists.build(folder / "tree", folder / "dist", when), when)


def of_the_product() -> set[str]:
    """Files of the packages, as they are called where they are installed."""
    found = set()
    for path in tracked_files():
        name = str(path.relative_to(ROOT))
        if any(name.startswith(f"{folder}/") for folder in PACKAGES.values()):
            found.add(name.removeprefix("proto/"))
    return found


def test_the_wheel_has_every_file_of_the_programs_and_what_shells_and_man_look_for(release: Release) -> None:
    with zipfile.ZipFile(release.wheel) as wheel:
        names = {*wheel.namelist()}
        assert of_the_product() >= {
            "holofsd/store/volume_formats/0001-first.sql",
            "holofs_api/v1/control.proto",
            "holofs_api/shell.py",
        }
        assert of_the_product() - names == set()
        data, about = f"holofs-{VERSION}.data/data", f"holofs-{VERSION}.dist-info"
        assert {name.removeprefix(f"{data}/") for name in names if name.startswith(data)} == SHARED
        assert not [name for name in names if name.startswith(("tests", "release", "scripts"))]
        told = Parser().parsestr(wheel.read(f"{about}/METADATA").decode())
        for name in SHARED:
            assert len(wheel.read(f"{data}/{name}")) > 500, name
        times = {entry.date_time for entry in wheel.infolist()}
    assert told["Version"] == VERSION
    asked = [line for line in told.get_all("Requires-Dist") or () if line.startswith(("pyfuse3", "fusepy"))]
    assert [("extra" in line, line[:6]) for line in sorted(asked)] == [(False, "fusepy"), (True, "pyfuse")]
    assert len(times) == 1


def test_the_sdist_is_the_whole_source_without_a_trace_of_who_made_it_and_when(release: Release) -> None:
    with tarfile.open(release.sdist) as archive:
        members = archive.getmembers()
    names = {member.name.partition("/")[2] for member in members if not member.isdir()}
    tracked = {str(path.relative_to(ROOT)) for path in tracked_files()} - {".gitignore"}
    assert tracked - names == set()
    assert names >= SHARED
    assert {(member.uid, member.gid, member.uname, member.mtime) for member in members} == {(0, 0, "", release.when)}


def test_programs_start_from_the_wheel_alone(release: Release, tmp_path: Path) -> None:
    with zipfile.ZipFile(release.wheel) as wheel:
        wheel.extractall(tmp_path)
    for module in ("holofsctl.main", "holofsd.daemon.main", "holofs_mount.main", "holofs_window.main"):
        code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import {module} as m; print(m.__file__); m.main()"
        command = [sys.executable, "-c", code, "--version"]
        done = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False)
        file, version = done.stdout.splitlines()
        assert file.startswith(str(tmp_path))
        assert version.endswith(f" {VERSION}")


def test_the_debian_package_has_programs_pages_completions_and_the_unit(release: Release, tmp_path: Path) -> None:
    system = deb.this_system()
    package = deb.build(release.tree, [release.wheel], system, tmp_path, release.when)
    listing = [line.split(maxsplit=5) for line in _output("dpkg-deb", "--contents", package).splitlines()]
    files = {words[5].partition(" -> ")[0].removeprefix("./") for words in listing}
    assert {f"usr/{'sbin' if name.startswith('mount.') else 'bin'}/{name}" for name in PROGRAMS} <= files
    assert {*deb.PLACES.values()} <= files
    assert {f"usr/share/man/man1/{name}.1.gz" for name in MANUALS} <= files
    assert {f"usr/share/doc/holofs/{name}" for name in ("copyright", "changelog.gz", "docs/install.md")} <= files
    packages = next(name for name in files if name.endswith("site-packages/"))
    assert {f"{packages}{name}" for name in of_the_product()} <= files
    assert {(words[0][1:], words[1]) for words in listing if words[0][0] != "l"} == {
        ("rwxr-xr-x", "root/root"),
        ("rw-r--r--", "root/root"),
    }
    told = Parser().parsestr(_output("dpkg-deb", "--field", package))
    assert (told["Version"], told["Architecture"]) == (f"{VERSION}+{system.release}", system.architecture)
    assert told["Depends"].split(", ")[:2] == [system.python_package, "fuse3"]

    _output("dpkg-deb", "--extract", package, tmp_path / "root")
    program = (tmp_path / "root/usr/bin/holofsctl").read_text()
    assert program.startswith(f"#!/{deb.PREFIX}/bin/python3 -I\n")
    assert "from holofsctl.main import main\n" in program
    text = b"".join(path.read_bytes() for path in (tmp_path / "root").rglob("*") if path.is_file())
    assert str(tmp_path).encode() not in text
    assert str(release.tree).encode() not in text


def _output(*command: str | Path) -> str:
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
