# SPDX-License-Identifier: GPL-3.0-or-later
"""A fake daemon and a real mount, under both bindings unless a test says otherwise.

Starting two Python processes costs more than most tests, so a module's tests share them; each begins on an empty
volume.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mount.harness import FakeDaemon, Mount
from support.wait import until

MakeMount = Callable[..., Mount]


class Shared:
    """Daemon and mount that the tests of a module share for one binding; started when first wanted."""

    def __init__(self, directory: Path, binding: str) -> None:
        self._directory = directory
        self._binding = binding
        self._daemon: FakeDaemon | None = None
        self._mount: Mount | None = None

    def daemon(self) -> FakeDaemon:
        """Daemon with the fast lane for one binding, and without for the other, so that both ways to the daemon are
        tested."""
        if self._daemon is None:
            slow = ["--no-fast-lane"] if self._binding == "fusepy" else []
            self._daemon = FakeDaemon(self._directory / "state", *slow)
        return self._daemon

    def empty_daemon(self) -> FakeDaemon:
        """Daemon with an empty volume, which the mount knows to be empty."""
        daemon = self.daemon()
        removed = daemon.ask("wipe")
        if self._mount is not None:
            path = self._mount.path
            until(lambda: not os.listdir(path), "the mount sees that everything is gone")
            until(lambda: not any(os.path.lexists(path / name) for name in removed), "the kernel sees it too")
        daemon.ask("reset_calls")
        return daemon

    def mount(self) -> Mount:
        if self._mount is None:
            self._mount = Mount(self.daemon().state, self._directory / "mnt", self._binding)
        return self._mount

    def close(self) -> None:
        """The mount's log has to be empty."""
        said = ""
        if self._mount is not None:
            self._mount.close()
            said = self._mount.unexpected()
        if self._daemon is not None:
            self._daemon.close()
        assert said == ""


@pytest.fixture(scope="module", params=["pyfuse3", "fusepy"])
def binding(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def shared(binding: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    running = Shared(tmp_path_factory.mktemp(binding), binding)
    yield running
    running.close()


@pytest.fixture
def daemon(shared: Shared) -> FakeDaemon:
    return shared.empty_daemon()


@pytest.fixture
def mount(daemon: FakeDaemon, shared: Shared) -> Mount:
    """Shared: not for tests that end it."""
    return shared.mount()


@pytest.fixture
def mnt(mount: Mount) -> Path:
    return mount.path


@pytest.fixture
def make_mount(daemon: FakeDaemon, tmp_path: Path, binding: str) -> Iterator[MakeMount]:
    """Mounts of a test's own, all taken down at the end."""
    mounts: list[Mount] = []

    def make(name: str = "mnt", *flags: str) -> Mount:
        mount = Mount(daemon.state, tmp_path / name, binding, *flags)
        mounts.append(mount)
        return mount

    yield make
    for mount in reversed(mounts):
        mount.close()
    said = "".join(mount.unexpected() for mount in mounts)
    assert said == ""


@pytest.fixture
def own_mount(make_mount: MakeMount) -> Mount:
    return make_mount()


def only(binding: str) -> pytest.MarkDecorator:
    """Mark for what one binding alone can do, or does in its own way."""
    return pytest.mark.parametrize("binding", [binding], indirect=True, scope="module")
