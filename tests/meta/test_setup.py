# SPDX-License-Identifier: GPL-3.0-or-later
"""`scripts/setup` in a checkout of its own, with real virtual environments; pip and apt-get only write down what they
are asked for."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.sources import ROOT

TOOLS = [
    "bash",
    "cat",
    "chmod",
    "cut",
    "dirname",
    "env",
    "flock",
    "id",
    "ldconfig",
    "mktemp",
    "rm",
    "sha256sum",
    "tail",
]
NEEDED = ("fusermount3", "pkg-config", "gcc")
FOR_DEVELOPERS = {
    "git",
    "rsync",
    "sqlite3",
    "iproute2",
    "faketime",
    "chromium",
    "btrfs-progs",
    "xfsprogs",
    "inotify-tools",
    "entr",
}
PACKAGES = ("holofsd", "holofsctl", "holofs_mount", "holofs_window", "holofs_api", "holofs_peer")
PIP = """
import os, pathlib, site, sys
with open(os.environ["ASKED_FOR"], "a") as log:
    log.write("pip " + " ".join(sys.argv[1:]) + "\\n")
if os.environ.get("PIP_FAILS"):
    sys.exit("no network")
pathlib.Path(site.getsitepackages()[0], "holofs.pth").write_text(os.environ["MODULES"])
"""
APT_GET = """#!/bin/bash
case "$1" in install)
    for name in "$@"; do case $name in -* | install) ;; *) echo "apt $name" >>"$ASKED_FOR" ;; esac; done
    for name in git rsync sqlite3 faketime chromium mkfs.btrfs mkfs.xfs inotifywait entr; do
        printf '#!/bin/bash\\n' >"$STUBS/$name"; chmod +x "$STUBS/$name"
    done
    printf '#!/bin/bash\\n' >"$STUBS/ip"; chmod +x "$STUBS/ip" ;;
esac
"""


@dataclass
class Checkout:
    root: Path
    stubs: Path
    asked: Path
    environment: dict[str, str]

    def setup(self, *options: str, venv_first: bool = False, **more: str) -> subprocess.CompletedProcess[str]:
        """Run the script. `venv_first`: with the path that `export PATH="$PWD/.venv/bin:$PATH"` makes."""
        path = str(self.stubs)
        environment = {**self.environment, "PATH": f"{self.root}/.venv/bin:{path}" if venv_first else path, **more}
        return subprocess.run(
            [self.stubs / "bash", "scripts/setup", *options],
            cwd=self.root,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def installed(self, *options: str, venv_first: bool = False) -> list[str]:
        """Requests of a run that goes well."""
        self.asked.write_text("")
        done = self.setup(*options, venv_first=venv_first)
        assert done.returncode == 0, done.stderr
        return self.asked.read_text().splitlines()


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    root, stubs, modules, fakes = (tmp_path / name for name in ("checkout", "stubs", "modules", "fakes"))
    for folder in (root / "scripts", stubs, modules, fakes / "pip"):
        folder.mkdir(parents=True)
    for name in PACKAGES:
        (modules / name).mkdir()
        (modules / name / "__init__.py").touch()
    (fakes / "pip" / "__init__.py").touch()
    (fakes / "pip" / "__main__.py").write_text(PIP)
    shutil.copy(ROOT / "scripts" / "setup", root / "scripts")
    (root / "pyproject.toml").write_text("[project]\n")
    (root / "requirements").mkdir()
    for name in ("build", "run", "dev", "bench"):
        (root / "requirements" / f"{name}.txt").write_text(f"# {name}\n")
    for tool in TOOLS:
        if (found := shutil.which(tool, path=os.defpath + ":/usr/sbin:/sbin")) is not None:
            (stubs / tool).symlink_to(found)
    for tool in NEEDED:
        _program(stubs / tool, "#!/bin/bash\n")
    _program(stubs / "apt-get", APT_GET)
    _program(stubs / "apt-cache", "#!/bin/bash\nexit 1\n")
    (stubs / "python3").symlink_to(Path(sys.base_prefix, "bin", f"python3.{sys.version_info.minor}"))
    asked = tmp_path / "asked"
    environment = {
        "ASKED_FOR": str(asked),
        "STUBS": str(stubs),
        "MODULES": str(modules),
        "PYTHONPATH": str(fakes),
        "TMPDIR": str(tmp_path),
    }
    return Checkout(root, stubs, asked, environment)


def _program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


PIP_INSTALL = "pip install --quiet --disable-pip-version-check"
BUILD_TOOLS = f"{PIP_INSTALL} --require-hashes --only-binary :all: -r requirements/build.txt"
ITSELF = f"{PIP_INSTALL} --no-deps --no-build-isolation -e ."


def locked(name: str) -> list[str]:
    """Requests to pip, in this order: nothing that comes from elsewhere without its hash."""
    asked = f"{PIP_INSTALL} --require-hashes --no-build-isolation -r requirements/{name}.txt"
    return [BUILD_TOOLS, asked, ITSELF]


def test_each_set_is_installed_once_and_what_only_developers_need_only_for_them(checkout: Checkout) -> None:
    for_a_person = checkout.installed()
    assert for_a_person[-3:] == locked("run")
    assert not {f"apt {name}" for name in FOR_DEVELOPERS} & {*for_a_person}
    # The first line of the README's demo makes the environment's own Python the first one.
    assert checkout.installed(venv_first=True) == []
    assert checkout.installed() == []

    added = checkout.installed("--dev", venv_first=True)
    assert added[-3:] == locked("dev")
    assert {"apt git", "apt rsync", "apt sqlite3", "apt faketime", "apt chromium"} <= {*added}
    for options in (["--dev"], []):
        assert checkout.installed(*options) == []
        assert checkout.installed(*options, venv_first=True) == []

    (checkout.root / "pyproject.toml").write_text("[project]\nversion = '2'\n")
    assert checkout.installed() == locked("run")
    assert checkout.installed("--dev") == locked("dev")
    (checkout.root / "requirements" / "dev.txt").write_text("# another lock\n")
    assert checkout.installed("--dev") == locked("dev")


def test_an_installation_that_failed_is_tried_again(checkout: Checkout) -> None:
    failed = checkout.setup(PIP_FAILS="yes")
    assert failed.returncode == 1
    assert "no network" in failed.stderr
    assert "HOLOFS_UNLOCKED=1" in failed.stderr
    assert ITSELF in checkout.installed()


def test_a_machine_that_the_lock_does_not_know_can_go_without_it(checkout: Checkout) -> None:
    assert checkout.setup(HOLOFS_UNLOCKED="1").returncode == 0
    assert checkout.asked.read_text().splitlines()[-1] == f"{PIP_INSTALL} -e .[fuse3]"


def test_an_environment_that_is_broken_is_made_anew_with_the_python_below_it(checkout: Checkout) -> None:
    checkout.installed()
    for python in checkout.root.glob(".venv/bin/python*"):
        python.unlink()
        python.symlink_to("/nowhere/python3")
    assert checkout.installed(venv_first=True) == locked("run")
    assert checkout.installed(venv_first=True) == []


def test_what_is_no_option_is_refused_and_nothing_is_installed(checkout: Checkout) -> None:
    refused = checkout.setup("--devel")
    assert refused.returncode == 2
    assert "--devel" in refused.stderr
    assert not checkout.asked.exists()


def test_who_tests_and_measures_gets_more_than_who_runs() -> None:
    for name, asks in {"run": "scripts/setup", "test": "scripts/setup --dev", "check": "scripts/setup --dev"}.items():
        lines = (ROOT / "scripts" / name).read_text().splitlines()
        assert [line.removesuffix(" || exit 1") for line in lines if line.startswith("scripts/setup")] == [asks]
