# SPDX-License-Identifier: GPL-3.0-or-later
"""Record budgets: generous for every honest device, and never the whole disk."""

from __future__ import annotations

import re
from importlib import resources

import pytest

from holofsd.core.record_budget import (
    DISK_PART,
    LEAST,
    LEAST_OF_DISK,
    WEIGHT,
    Weight,
    budget,
    strange_budget,
    weight,
)

GIB = 1 << 30
TIB = 1 << 40


def test_a_million_files_fit_whatever_is_in_their_records() -> None:
    a_record = weight(bytes(16), bytes(4096 + 600), is_strange=False)
    assert 1_000_000 * a_record.bytes < budget((), TIB)


def test_a_million_large_files_fit_on_a_small_disk() -> None:
    a_record = weight(bytes(16), bytes(400), is_strange=False)
    assert 1_000_000 * a_record.bytes < budget((), 8 * GIB)


def test_who_says_all_of_a_large_volume_again_may() -> None:
    assert budget((40 * GIB, 1), TIB) >= 40 * GIB


@pytest.mark.parametrize("others", [(), (GIB,), (TIB,), (1 << 60,)])
@pytest.mark.parametrize("disk", [0, GIB, 100 * GIB, TIB])
def test_no_device_may_take_the_disk(others: tuple[int, ...], disk: int) -> None:
    assert budget(others, disk) <= max(disk // DISK_PART, LEAST_OF_DISK)


def test_two_devices_cannot_raise_each_other_beyond_the_disk() -> None:
    one = two = LEAST
    for _ in range(50):
        one, two = budget((two,), TIB), budget((one,), TIB)
    assert one + two <= TIB // 4


def test_what_is_not_understood_has_a_small_part() -> None:
    assert 60 << 20 < strange_budget(LEAST) < 70 << 20
    assert strange_budget(0) > 0


def test_every_record_weighs_something() -> None:
    assert weight(b"k", b"", is_strange=True) == Weight(WEIGHT + 1, WEIGHT + 1)
    assert weight(b"k", b"123", is_strange=False) - Weight(3, 0) == Weight(WEIGHT + 1, 0)


def test_volumes_of_a_former_format_are_weighed_alike() -> None:
    script = resources.files("holofsd.store").joinpath("volume_formats/0043-record-budgets.sql").read_text()
    found = re.search(r"length\(key\) \+ length\(payload\) \+ (\d+)", script)
    assert found is not None
    assert int(found[1]) == WEIGHT
