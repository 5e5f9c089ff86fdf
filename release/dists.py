# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds the sdist, and the wheel from that sdist, so that it is seen to be complete. The same commit gives the same
bytes. Nothing is fetched: setuptools of the running Python builds."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Final

from release.tree import make_plain

_HOOK: Final = "import sys; from setuptools import build_meta; getattr(build_meta, sys.argv[1])(sys.argv[2])"


def build(tree: Path, into: Path, when: int) -> tuple[Path, Path]:
    """The sdist and the wheel, made of a copy of the tree (`release.tree`) that setuptools may write into."""
    into.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="holofs-build-") as folder:
        made = _run("build_sdist", tree, Path(folder, "sdist"), when)
        sdist = _repacked(made, into / made.name, when)
        with tarfile.open(sdist) as archive:
            archive.extractall(folder, filter="data")
        source = Path(folder, sdist.name.removesuffix(".tar.gz"))
        make_plain(source, when)
        wheel = _run("build_wheel", source, into, when)
    return sdist, wheel


def _run(hook: str, tree: Path, into: Path, when: int) -> Path:
    """Calls one hook of PEP 517; the one new file in the folder."""
    into.mkdir(parents=True, exist_ok=True)
    before = {*into.iterdir()}
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(when)}
    command = [sys.executable, "-c", _HOOK, hook, str(into)]
    done = subprocess.run(
        command, cwd=tree, env=environment, umask=0o022, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if done.returncode:
        raise SystemExit(f"setuptools could not build ({hook}):\n{done.stdout[-3000:]}")
    (made,) = {*into.iterdir()} - before
    return made


def _repacked(archive: Path, into: Path, when: int) -> Path:
    """The same archive without the time of its making, and without the owner of its files."""
    packed = io.BytesIO()
    with tarfile.open(archive) as old, tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as new:
        for member in sorted(old.getmembers(), key=lambda member: member.name):
            member.uid = member.gid = 0
            member.uname = member.gname = ""
            member.mtime = when
            member.pax_headers = {}
            new.addfile(member, old.extractfile(member) if member.isreg() else None)
    into.write_bytes(gzip.compress(packed.getvalue(), mtime=when))
    return into
