# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules for every test: no FUSE is a failure and never a skip, an interrupted run cleans up, nothing is left."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import pytest
from hypothesis import HealthCheck, settings

from holofsd.store.database import Database
from support import new_databases
from support.processes import mounts_below

# Two slow cores shared with other work must not make a property fail for its speed.
settings.register_profile("holofs", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("holofs")

HERE = Path(__file__).parent


OWN_TEMP = pytest.StashKey[Path]()
MEMORY = Path("/dev/shm")
MEMORY_TEMP = pytest.StashKey[Path]()
IN_MEMORY = ("sync", "fs", "tree", "check", "fuzz", "model")
"""Folders whose tests end no process and mount nothing: that their files are on a disk is not what they look at."""
ENOUGH_BYTES = 4 << 30


def pytest_configure(config: pytest.Config) -> None:
    # A directory of our own, which nobody else counts or sweeps, and which is gone afterwards.
    if config.option.basetemp is None:
        config.stash[OWN_TEMP] = Path(tempfile.mkdtemp(prefix="hfs-test-"))
        config.option.basetemp = str(config.stash[OWN_TEMP] / "t")
    if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ENOUGH_BYTES:
        config.stash[MEMORY_TEMP] = Path(tempfile.mkdtemp(prefix="hfs-test-", dir=MEMORY))
    # Tests in one process make thousands of databases; tests/store looks at how they are made.
    Database.__init__ = new_databases.make  # type: ignore[method-assign]
    # Daemons and mounts are started by the thousand: compiling every module each time would be most of what they do.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    # pytest runs its finalizers on SIGINT only; a CI that stops a run sends SIGTERM.
    signal.signal(signal.SIGTERM, _interrupt)
    # A shell that runs the tests in the background has SIGINT ignored, and all programs of the tests with them.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_unconfigure(config: pytest.Config) -> None:
    own = config.stash.get(OWN_TEMP, None)
    if own is not None and not mounts_below(own):
        shutil.rmtree(own, ignore_errors=True)
    if (memory := config.stash.get(MEMORY_TEMP, None)) is not None:
        shutil.rmtree(memory, ignore_errors=True)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


LONGEST = (
    "tree/test_incremental.py",
    "packages/test_packages.py",
    "network/test_cables.py",
    "mount/test_mount_waits.py",
    "window/test_window_security.py",
)
"""Files that take long in folders whose turn is late: begun before all others."""
LONGEST_FIRST = ("e2e", "network", "disk", "differential", "mount", "daemon", "model")
"""Folders whose files take long: begun first, so that no process is still in one when the others are done."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of a folder carry its marker, so that `-m "not e2e"` works without a line in each file."""
    for item in items:
        layer = _layer(item)
        if layer in ("network", "disk", "differential"):
            item.add_marker("e2e")
        if layer in ("e2e", "mount"):
            item.add_marker(layer)
    items.sort(key=_turn)


def _layer(item: pytest.Item) -> str:
    return item.path.relative_to(HERE).parts[0] if HERE in item.path.parents else ""


def _turn(item: pytest.Item) -> int:
    layer = _layer(item)
    if layer and item.path.relative_to(HERE).as_posix() in LONGEST:
        return -1
    return LONGEST_FIRST.index(layer) if layer in LONGEST_FIRST else len(LONGEST_FIRST)


@pytest.fixture(autouse=True)
def _in_memory(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Temporary directories of some folders are in memory: a disk is slow to sync, and to remove them from."""
    memory = request.config.stash.get(MEMORY_TEMP, None)
    if memory is not None and _layer(request.node) in IN_MEMORY:
        monkeypatch.setattr(tempfile, "tempdir", str(memory))


@pytest.fixture
def tmp_path(request: pytest.FixtureRequest, tmp_path: Path, _in_memory: None) -> Iterator[Path]:
    if request.config.stash.get(MEMORY_TEMP, None) is None or _layer(request.node) not in IN_MEMORY:
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as path:
        yield Path(path)


@pytest.fixture(autouse=True)
def _fuse_is_there(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("e2e") or request.node.get_closest_marker("mount"):
        problem = fuse_problem()
        if problem:
            pytest.fail(f"This test mounts a real filesystem, and {problem}.", pytrace=False)


def fuse_problem() -> str:
    """Reason why nothing can be mounted here, or an empty string."""
    if not Path("/dev/fuse").exists():
        return "/dev/fuse is missing"
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        return "/dev/fuse may not be opened"
    if shutil.which("fusermount3") is None:
        return "fusermount3 is missing (scripts/setup installs it)"
    return ""


@pytest.fixture(scope="session", autouse=True)
def _nothing_stays_behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    base = tmp_path_factory.getbasetemp()
    yield
    left = mounts_below(base)
    assert not left, f"mounts left behind: {left}"
