# SPDX-License-Identifier: GPL-3.0-or-later
"""The choice of the FUSE binding, and what a machine without one, or without its library, is told to install."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from holofs_mount import bindings
from holofs_mount.options import EXIT_FUSE, MountError


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of all programs that this machine has: at first those of a new Debian with fuse3."""
    for name in ("apt-get", "fusermount3", "fusermount"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    return tmp_path


def is_absent(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)


def fails(module: str, error: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, module, raising=False)
    (folder / f"{module}.py").write_text(f"raise {error}\n")
    monkeypatch.syspath_prepend(str(folder))


def refused(wanted: str = "auto") -> str:
    with pytest.raises(MountError) as failed:
        bindings.choose(wanted)
    assert failed.value.code == EXIT_FUSE
    return str(failed.value)


def test_pyfuse3_is_used_where_it_is_there(machine: Path) -> None:
    choice = bindings.choose()
    assert (choice.binding, choice.lacks) == ("pyfuse3", ())
    assert choice.unmounter == str(machine / "fusermount3")
    assert bindings.load(choice.binding).__name__ == "holofs_mount.pyfuse3_binding"


def test_without_pyfuse3_it_is_fusepy_and_one_sentence_says_how_to_get_the_other(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_absent("pyfuse3", monkeypatch)
    choice = bindings.choose()
    assert choice.binding == "fusepy"
    assert choice.sentence.startswith("Mounts use fusepy 3")
    assert "because pyfuse3 is not installed: for pyfuse3, run `sudo apt-get install gcc pkg-config" in choice.sentence
    assert choice.sentence.endswith(f", then `{sys.executable} -m pip install 'pyfuse3<4,>=3.4'`.")
    (machine / "pipx_metadata.json").touch()
    assert f"then `pipx inject {machine.name} 'pyfuse3<4,>=3.4'`." in bindings.choose().sentence
    assert refused("pyfuse3").startswith(
        "Nothing can be mounted here, because pyfuse3 is not installed: run `sudo apt-"
    )


def test_only_packages_that_are_missing_are_asked_for(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    is_absent("pyfuse3", monkeypatch)
    for name in ("gcc", "pkg-config"):
        shutil.copy(machine / "apt-get", machine / name)
    monkeypatch.setattr("os.path.exists", lambda path: "Python.h" not in str(path))
    assert "run `sudo apt-get install python3-dev`, then `" in bindings.choose().sentence
    monkeypatch.setattr("os.path.exists", lambda path: True)
    assert f"for pyfuse3, run `{sys.executable} -m pip" in bindings.choose().sentence


def test_a_library_that_is_missing_is_named(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fails("pyfuse3", "ImportError('libfuse3.so.3: cannot open shared object file')", machine, monkeypatch)
    choice = bindings.choose()
    assert choice.binding == "fusepy"
    assert "because libfuse3.so.3, which pyfuse3 needs, is missing: for pyfuse3, run `sudo apt-" in choice.sentence
    assert choice.sentence.endswith("install fuse3`.")


def test_all_that_a_machine_without_fuse_lacks_is_said_at_once(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    is_absent("pyfuse3", monkeypatch)
    fails("fuse", "OSError('Unable to find libfuse')", machine, monkeypatch)
    assert refused() == (
        "Nothing can be mounted here, because libfuse 2 (libfuse.so.2), which fusepy needs, is missing:"
        " run `sudo apt-get install libfuse2`."
    )
    for name in ("fusermount3", "fusermount"):
        (machine / name).unlink()
    sentence = refused()
    assert "and fusermount3 is missing: run `sudo apt-get install fuse3 libfuse2`." in sentence
    assert "\n" not in sentence
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert "run `apt-get install fuse3 libfuse2`." in refused()
    (machine / "apt-get").unlink()
    assert refused().endswith("install with your package manager what Debian calls fuse3 libfuse2.")


def test_a_binding_that_misses_a_module_of_its_own_is_installed_again(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails("pyfuse3", "ModuleNotFoundError('no trio', name='trio')", machine, monkeypatch)
    assert "pyfuse3 cannot be loaded (no trio): for pyfuse3, run `" in bindings.choose().sentence


def test_a_program_that_loads_neither_is_told_as_json(
    machine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bindings.main()
    told = json.loads(capsys.readouterr().out)
    assert told["binding"] == "pyfuse3"
    assert told["explanation"] == f"Mounts use pyfuse3 {told['version']}."
    is_absent("pyfuse3", monkeypatch)
    is_absent("fuse", monkeypatch)
    bindings.main()
    told = json.loads(capsys.readouterr().out)
    assert (told["binding"], told["version"]) == ("", "")
    assert "fusepy is not installed" in told["explanation"]
