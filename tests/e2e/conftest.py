# SPDX-License-Identifier: GPL-3.0-or-later
"""Real daemons and real mounts for every test of this folder."""

from __future__ import annotations

from collections.abc import Generator, Iterator

import pytest

from support.device import World

LIMIT_S = 150.0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "e2e" in item.path.parts and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(LIMIT_S + 30))


@pytest.fixture
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """An empty world; ends with the logs checked and everything gone. Prints all logs where the test failed."""
    marker = request.node.get_closest_marker("timeout")
    world = World(limit_s=(marker.args[0] - 30) if marker else LIMIT_S)
    try:
        yield world
        if request.node.stash.get(FAILED, False):
            print(world.logs())
        else:
            world.check()
    finally:
        world.close()


FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        item.stash[FAILED] = True
    return report
