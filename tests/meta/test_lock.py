# SPDX-License-Identifier: GPL-3.0-or-later
"""The locked dependencies: current, with hashes, and a check that notices when they are not."""

from __future__ import annotations

import importlib.util
import re
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest

from support.sources import ROOT

TARGETS = 8
HASH = re.compile(r"    --hash=sha256:[0-9a-f]{64}( \\)?")


@pytest.fixture
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """`scripts/lock.py`, on a copy of what it looks at."""
    spec = importlib.util.spec_from_file_location("holofs_lock", ROOT / "scripts" / "lock.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "holofs_lock", module)
    spec.loader.exec_module(module)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(ROOT / "requirements", tmp_path / "requirements")
    monkeypatch.setattr(module, "ROOT", tmp_path)
    return module


def _edit(path: Path, pattern: str, text: str) -> None:
    before = path.read_text()
    after = re.sub(pattern, text, before, count=1)
    assert after != before
    path.write_text(after)


def test_what_is_locked_is_what_is_asked_for(lock: ModuleType) -> None:
    assert len(lock.TARGETS) == TARGETS
    assert lock.complaints() == []


def test_every_line_is_a_version_and_each_has_hashes_of_files() -> None:
    for path in sorted(ROOT.glob("requirements/*.txt")):
        lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
        packages = [number for number, line in enumerate(lines) if not line.startswith(" ")]
        assert len(packages) > 2
        for number, line in enumerate(lines):
            if number in packages:
                assert re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*( ; [^\\]+)? \\", line), line
                assert HASH.fullmatch(lines[number + 1])
            else:
                assert HASH.fullmatch(line), line
        assert "://" not in path.read_text()


def test_a_dependency_that_was_added_or_changed_is_noticed_without_asking_anybody(lock: ModuleType) -> None:
    project = lock.ROOT / "pyproject.toml"
    before = project.read_text()
    _edit(project, r'"qrcode>=8,<9"', '"qrcode>=9,<10"')
    assert any("qrcode" in sentence for sentence in lock.complaints())
    project.write_text(before)
    _edit(project, r'"qrcode>=8,<9",', '"qrcode>=8,<9",\n    "made-up>=1",')
    assert any("made-up" in sentence for sentence in lock.complaints())
    project.write_text(before)
    _edit(project, r'"qrcode>=8,<9",\n', "")
    assert any("does not belong to pyproject.toml" in sentence for sentence in lock.complaints())


def test_a_file_that_is_missing_or_a_hash_that_is_gone_is_noticed(lock: ModuleType) -> None:
    (lock.ROOT / "requirements" / "build.txt").unlink()
    assert lock.complaints() == ["requirements/build.txt is missing: run scripts/lock."]
    _edit(lock.ROOT / "requirements" / "run.txt", r"(fusepy==\S+) \\\n.*\n", r"\1\n")
    assert any("has no hash" in sentence for sentence in lock.complaints())
