# SPDX-License-Identifier: GPL-3.0-or-later
"""Machines on a network that the test makes: without the right to make one, these tests fail and say so."""

from __future__ import annotations

from collections.abc import Generator, Iterator

import pytest

from network.machines import Machines
from support import lan

LIMIT_S = 170.0
FAILED = pytest.StashKey[bool]()


@pytest.fixture(scope="session")
def network() -> None:
    if problem := lan.problem():
        pytest.fail(f"This test makes a network of its own, and {problem}. See docs/development.md.", pytrace=False)


@pytest.fixture
def machines(network: None, request: pytest.FixtureRequest) -> Iterator[Machines]:
    """No machine yet; ends with the logs checked and everything gone. Prints all logs where the test failed."""
    with Machines(limit_s=LIMIT_S) as made:
        yield made
        if request.node.stash.get(FAILED, False):
            print(made.world.logs())
        else:
            made.world.check()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "network" in item.path.parts:
            item.add_marker(pytest.mark.timeout(LIMIT_S + 30))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        item.stash[FAILED] = True
    return report
