# SPDX-License-Identifier: GPL-3.0-or-later
"""Installs each package in a clean Debian, as docs/install.md says, and uses it as a person would first.

Runs as root, in mount and process namespaces of its own. What messages advise is done as they say it: packages are
installed by the names that a refusal gives, and a command that is advised is run.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from release.clean_root import CleanRoot, bootstrap
from release.tree import ROOT

_FIRST_USE: Final = (Path(__file__).parent / "first_use.sh").read_text()
_BEGAN: Final = time.monotonic()
_OFF_THE_NETWORK: Final = {"HOLOFS_BIND": "127.0.0.1:0", "HOLOFS_DISCOVERY": "none", "HOLOFS_DEVICE_NAME": "trial"}
_LOCKED: Final = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/fetched", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
"""pip takes what the release was built with, also where it builds from source."""
_BEGIN: Final = "holofsctl up; holofsctl create notes; mkdir ~/notes; holofsctl mount notes ~/notes"
_FORGET: Final = "holofsctl down; rmdir ~/notes; rm -r ~/.local/state/holofs"
_ADVISED: Final = re.compile(r"`(?:sudo )?apt-get install ([^`]*)`(?:, then `([^`]*)`)?")
_FILES_OF_DEB: Final = """
for name in holofsctl holofsd holofs-mount mount.fuse.holofs; do
    zgrep -q '^.SH NAME' /usr/share/man/man1/$name.1.gz
done
bash -n /usr/share/bash-completion/completions/holofsctl
grep -q '^#compdef holofsctl' /usr/share/zsh/vendor-completions/_holofsctl
grep -q '^complete -c holofsctl' /usr/share/fish/vendor_completions.d/holofsctl.fish
grep -q '^ExecStart=:"*/usr/bin/holofsd' /usr/lib/systemd/user/holofsd.service
grep -q '^ListenStream=%h/' /usr/lib/systemd/user/holofsd.socket
"""
_BY_FUSEPY: Final = """
holofsctl up; holofsctl create notes; mkdir ~/notes; holofsctl mount --binding fusepy notes ~/notes
echo hello >~/notes/file
[ "$(cat ~/notes/file)" = hello ]
holofsctl down
"""


def try_all(dist: Path, fetched: Path) -> None:
    """Tries what is in `dist`. Raises SystemExit with what failed; leaves nothing behind."""
    if os.geteuid():
        raise SystemExit("scripts/release --try makes mounts and a root of its own: run it as root.")
    with tempfile.TemporaryDirectory(prefix="holofs-try-") as folder:
        namespaces = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        command = [*namespaces, sys.executable, "-m", "release.trial", folder, str(dist), str(fetched)]
        done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, check=False)
        # Other programs may mount meanwhile what they like: only mounts in the trial's own folder are its own.
        if left := [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if f" {folder}/" in line]:
            raise SystemExit("The trial left mounts on this machine:\n" + "\n".join(left))
    if done.returncode:
        raise SystemExit(done.returncode)


def _say(text: str) -> None:
    sys.stdout.write(f"[{time.monotonic() - _BEGAN:4.0f} s] {text}\n")
    sys.stdout.flush()


def main(folder: Path, dist: Path, fetched: Path) -> None:
    """Runs in the namespaces."""
    _say("Making a clean Debian")
    bootstrap(folder / "base")
    shared = {"dist": dist, "fetched": fetched}
    for name, trial in (("deb", _try_deb), ("wheel", _try_wheel)):
        trial(CleanRoot.copy(folder / "base", folder / name, shared, {**_OFF_THE_NETWORK, **_LOCKED}))
    _say("Each package was installed and used")


def _try_deb(root: CleanRoot) -> None:
    _say("The Debian package: install")
    root.as_root("apt-get install -y -q /dist/holofs_*.deb")
    root.as_root(_FILES_OF_DEB)
    _say("The Debian package: first use, with pyfuse3; and with fusepy, which is there, too")
    root.as_user(_FIRST_USE, "pyfuse3")
    root.as_user(_BY_FUSEPY)
    _say("The Debian package: install again, remove")
    root.as_root("apt-get install -y -q --reinstall /dist/holofs_*.deb; holofsctl --version")
    root.as_root("apt-get remove -y -q holofs; [ ! -e /usr/lib/holofs ]; [ ! -e /usr/bin/holofsctl ]")
    root.as_user("[ -d ~/.local/state/holofs ]")


def _try_wheel(root: CleanRoot) -> None:
    _say("The wheel: `pipx install` on a Debian without FUSE and without a compiler")
    root.as_root("apt-get install -y -q --no-install-recommends pipx")
    root.as_user("pipx install /dist/holofs-*.whl")
    packages, _ = _advice(_refused_mount(root))
    root.as_root(f"apt-get install -y -q --no-install-recommends {packages}")
    _say("The wheel: first use, with fusepy")
    root.as_user(_FIRST_USE, "fusepy")
    packages, command = _advice(_remark_of_mount(root))
    root.as_root(f"apt-get install -y -q --no-install-recommends {packages}")
    root.as_user(command)
    _say("The wheel: first use, with pyfuse3")
    root.as_user(_FIRST_USE, "pyfuse3")
    root.as_user("pipx uninstall holofs; [ ! -e ~/.local/bin/holofsctl ]")
    _say("The sdist: `pip install` into a virtual environment, with the extra; first use")
    root.as_user('python3 -m venv ~/own; ~/own/bin/pip install -q "$(echo /dist/holofs-*.tar.gz)[fuse3]"')
    root.as_user(f"PATH=~/own/bin:$PATH\n{_FIRST_USE}", "pyfuse3")


def _refused_mount(root: CleanRoot) -> str:
    """The sentence that refuses a mount."""
    done = root.tried(_BEGIN)
    told = root.as_user("holofsctl version; holofsctl doctor || true")
    if done.returncode == 0 or told.count("apt-get install") < 2 or "Traceback" in done.stderr + told:
        raise SystemExit(f"Without FUSE, nothing says what to install:\n{done.stdout}{done.stderr}{told}")
    root.as_user(_FORGET)
    return done.stderr.strip().splitlines()[-1]


def _remark_of_mount(root: CleanRoot) -> str:
    """The remark that a slower binding is used, and why."""
    told = root.as_user(_BEGIN)
    root.as_user(_FORGET)
    return told.strip().splitlines()[-1]


def _advice(sentence: str) -> tuple[str, str]:
    """Packages and command that a sentence advises."""
    _say(f"It says: {sentence}")
    found = _ADVISED.search(sentence)
    if found is None:
        raise SystemExit("That advises no package.")
    return found[1], found[2] or ""


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
