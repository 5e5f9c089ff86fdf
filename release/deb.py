# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds the Debian package: the programs in a private virtual environment, which uses Debian's Python, with all that
they need from the package index; manual pages, completions and the user units where Debian looks for them.

An environment fits one minor version of Python, so a package is for the release of Debian that it is built on. Its
version says which, so that the package for the next release is newer.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import Distribution, EntryPoint, distributions
from pathlib import Path
from typing import Final

from release.share import COMPLETIONS, UNITS
from release.tree import make_plain

PREFIX: Final = "usr/lib/holofs"
PLACES: Final = {
    COMPLETIONS["bash"]: "usr/share/bash-completion/completions/holofsctl",
    COMPLETIONS["zsh"]: "usr/share/zsh/vendor-completions/_holofsctl",
    COMPLETIONS["fish"]: "usr/share/fish/vendor_completions.d/holofsctl.fish",
    **{unit: f"usr/lib/{unit}" for unit in UNITS},
}
_PROGRAM: Final = """#!/{prefix}/bin/python3 -I
import sys

from {module} import {function}

sys.exit({function}())
"""
# As Debian's own packages of Python programs do it: what is compiled is no part of the package.
_POSTINST: Final = f"""#!/bin/sh
set -e
if [ "$1" = configure ]; then
    /{PREFIX}/bin/python3 -m compileall -qq /{PREFIX}/lib || true
    if [ -n "$2" ]; then
        echo "HoloFS: daemons that run go on with the old program until 'holofsctl down' and 'holofsctl up'."
    fi
fi
"""
_PRERM: Final = f"""#!/bin/sh
set -e
find /{PREFIX} -name __pycache__ -type d -prune -exec rm -rf {{}} +
"""
_DESCRIPTION: Final = """ HoloFS keeps a folder the same on several computers, peer to peer and
 encrypted, without a server. The folder is mounted with FUSE; it works
 offline, keeps old versions, and loses no edit."""
_COPYRIGHT: Final = """HoloFS is free software under the GNU General Public License, version 3 or
later: /usr/share/common-licenses/GPL-3.

This package contains the Python packages below, unchanged. Their licences are
in /{place}, in the folder or
in the files of each.

{bundled}
"""


@dataclass(frozen=True, slots=True)
class System:
    """The Debian that the package is for."""

    python: str
    """Path of its Python, with the minor version."""
    release: str
    """Suffix of the package's version, like `deb12`."""
    architecture: str

    @property
    def python_package(self) -> str:
        return Path(self.python).name


def this_system() -> System:
    """Raises SystemExit where this is no Debian, or has no Python of its own."""
    told = platform.freedesktop_os_release()
    if shutil.which("dpkg-deb") is None or not Path("/usr/bin/python3").exists():
        raise SystemExit("A Debian package can be built only on Debian or Ubuntu, with their python3.")
    python = _output(["/usr/bin/python3", "-c", "import os, sys; print(os.path.realpath(sys.executable))"])
    name = {"debian": "deb"}.get(told["ID"], told["ID"])
    architecture = _output(["dpkg", "--print-architecture"])
    return System(python, f"{name}{told.get('VERSION_ID', '')}", architecture)


def build(tree: Path, wheels: Sequence[Path], system: System, into: Path, when: int) -> Path:
    """The package. `tree`: the copy (`release.tree`) that the wheel of HoloFS, one of `wheels`, was built from."""
    with tempfile.TemporaryDirectory(prefix="holofs-deb-") as folder:
        root = Path(folder, "root")
        packages = _install(root / PREFIX, wheels, system)
        holofs = next(found for found in packages if found.name == "holofs")
        _programs(root, holofs.entry_points)
        _share(root, tree)
        _documents(root, tree, packages)
        version = f"{holofs.version}+{system.release}"
        _control(root, version, system)
        make_plain(root, when)
        package = into / f"holofs_{version}_{system.architecture}.deb"
        # With several threads the bytes could depend on how many there are.
        command = ["dpkg-deb", "--root-owner-group", "-Zxz", "--threads-max=1", "--build", str(root), str(package)]
        _output(command, SOURCE_DATE_EPOCH=str(when))
    return package


def _install(environment: Path, wheels: Sequence[Path], system: System) -> list[Distribution]:
    """Makes the virtual environment, with nothing in it that tells where or by what it was made."""
    _output([system.python, "-m", "venv", "--without-pip", "--symlinks", str(environment)])
    pip = [sys.executable, "-m", "pip", "--python", str(environment), "--quiet", "--disable-pip-version-check"]
    _output([*pip, "install", "--no-index", "--no-deps", "--no-compile", *map(str, wheels)])
    for name in ("bin", "include", "share"):
        shutil.rmtree(environment / name, ignore_errors=True)
    (environment / "lib64").unlink(missing_ok=True)
    (environment / "bin").mkdir()
    (environment / "bin" / "python3").symlink_to(system.python)
    version = _output([system.python, "-c", "import platform; print(platform.python_version())"])
    settings = {"home": "/usr/bin", "include-system-site-packages": "false", "version": version}
    (environment / "pyvenv.cfg").write_text("".join(f"{name} = {value}\n" for name, value in settings.items()))
    (packages,) = environment.glob("lib/python*/site-packages")
    for name in ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json"):
        for path in packages.glob(f"*.dist-info/{name}"):
            path.unlink()
    return sorted(distributions(path=[str(packages)]), key=lambda found: found.name.lower())


def _programs(root: Path, entry_points: Sequence[EntryPoint]) -> None:
    for entry in entry_points:
        if entry.group == "console_scripts":
            # A helper of mount(8) is looked for beside the programs of root.
            path = root / ("usr/sbin" if entry.name.startswith("mount.") else "usr/bin") / entry.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(_PROGRAM.format(prefix=PREFIX, module=entry.module, function=entry.attr))
            path.chmod(0o755)


def _share(root: Path, tree: Path) -> None:
    for source, place in PLACES.items():
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(tree / "share" / source, root / place)
    for page in sorted((tree / "share" / "man").rglob("*.[1-8]")):
        _compress(page, root / "usr/share/man" / page.parent.name / f"{page.name}.gz")


def _documents(root: Path, tree: Path, packages: Sequence[Distribution]) -> None:
    folder = root / "usr/share/doc/holofs"
    _compress(tree / "CHANGELOG.md", folder / "changelog.gz")
    shutil.copyfile(tree / "README.md", folder / "README.md")
    shutil.copytree(tree / "docs", folder / "docs")
    (place,) = (root / PREFIX).glob("lib/python*/site-packages")
    bundled = "\n".join(f"{found.name} {found.version}: {_licence(found)}" for found in packages)
    (folder / "copyright").write_text(_COPYRIGHT.format(place=place.relative_to(root), bundled=bundled))


def _licence(package: Distribution) -> str:
    """Licence as the package states it: by an expression, else by classifiers, else by the first line of its text."""
    about = package.metadata
    if "License-Expression" in about:
        return about["License-Expression"]
    prefix = "License :: OSI Approved :: "
    classes = [line.removeprefix(prefix) for line in about.get_all("Classifier") or () if line.startswith(prefix)]
    told = "".join(about.get_all("License") or ()).strip()
    return ", ".join(classes) or (told or "see its folder").splitlines()[0]


def _compress(source: Path, into: Path) -> None:
    into.parent.mkdir(parents=True, exist_ok=True)
    into.write_bytes(gzip.compress(source.read_bytes(), mtime=0))


def _control(root: Path, version: str, system: System) -> None:
    files = sorted(path for path in root.rglob("*") if path.is_file() and not path.is_symlink())
    size = sum(-(-path.stat().st_size // 1024) for path in files)
    fields = {
        "Package": "holofs",
        "Version": version,
        "Section": "net",
        "Priority": "optional",
        "Architecture": system.architecture,
        "Maintainer": "The HoloFS developers <holofs@holofs.invalid>",
        "Installed-Size": str(size),
        "Depends": ", ".join([system.python_package, "fuse3", *_libraries(root)]),
        "Recommends": "libfuse2",
        "Description": f"personal distributed filesystem, peer to peer\n{_DESCRIPTION}",
    }
    control = root / "DEBIAN"
    control.mkdir()
    (control / "control").write_text("".join(f"{name}: {value}\n" for name, value in fields.items()))
    sums = (f"{hashlib.md5(path.read_bytes()).hexdigest()}  {path.relative_to(root)}\n" for path in files)
    (control / "md5sums").write_text("".join(sums))
    for name, text in (("postinst", _POSTINST), ("prerm", _PRERM)):
        (control / name).write_text(text)
        (control / name).chmod(0o755)


def _libraries(root: Path) -> Iterator[str]:
    """Debian's packages of the shared libraries that are linked to, with the versions that are needed."""
    libraries = sorted(root.rglob("*.so*"))
    if not libraries:
        return
    folders = {f"-l{path.parent}" for path in libraries}  # wheels bring some of their libraries themselves
    with tempfile.TemporaryDirectory(prefix="holofs-deb-") as folder:
        control = Path(folder, "debian", "control")
        control.parent.mkdir()
        control.write_text("Source: holofs\n\nPackage: holofs\nArchitecture: any\n")
        command = ["dpkg-shlibdeps", "-O", "--ignore-missing-info", *sorted(folders), *map(str, libraries)]
        told = _output(command, cwd=Path(folder))
    for line in told.splitlines():
        if line.startswith("shlibs:Depends="):
            yield from line.removeprefix("shlibs:Depends=").split(", ")


def _output(command: Sequence[str], cwd: Path | None = None, **variables: str) -> str:
    done = subprocess.run(
        command, cwd=cwd, env={**os.environ, **variables}, text=True, capture_output=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"`{command[0]}` failed:\n{done.stderr[-3000:]}")
    return done.stdout.strip()
