# SPDX-License-Identifier: GPL-3.0-or-later
"""One fake daemon and one real mount for each test, under both bindings unless a test says otherwise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mount.harness import FakeDaemon, Mount

MakeMount = Callable[..., Mount]


@pytest.fixture
def daemon(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FakeDaemon]:
    """With the fast lane for one binding, and without for the other, so that both ways to the daemon are tested."""
    slow = "binding" in request.fixturenames and request.getfixturevalue("binding") == "fusepy"
    running = FakeDaemon(tmp_path / "state", *(["--no-fast-lane"] if slow else []))
    yield running
    running.close()


@pytest.fixture(params=["pyfuse3", "fusepy"])
def binding(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def make_mount(daemon: FakeDaemon, tmp_path: Path, binding: str) -> Iterator[MakeMount]:
    """Mounts, all taken down at the end; a mount whose log has an error in it fails the test."""
    mounts: list[Mount] = []

    def make(name: str = "mnt", *flags: str) -> Mount:
        mount = Mount(daemon.state, tmp_path / name, binding, *flags)
        mounts.append(mount)
        return mount

    yield make
    for mount in reversed(mounts):
        mount.close()
    logs = "".join(mount.said() for mount in mounts)
    assert "Traceback" not in logs, logs


@pytest.fixture
def mount(make_mount: MakeMount) -> Mount:
    return make_mount()


@pytest.fixture
def mnt(mount: Mount) -> Path:
    return mount.path


def only(binding: str) -> pytest.MarkDecorator:
    """For what one binding alone can do."""
    return pytest.mark.parametrize("binding", [binding], indirect=False)
