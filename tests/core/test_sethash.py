# SPDX-License-Identifier: GPL-3.0-or-later
"""The hash of a set of records does not depend on the order in which they came."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holofsd.core import sethash
from holofsd.core.errors import Refused

RECORDS = st.lists(st.tuples(st.binary(max_size=20), st.integers(0, 2**40), st.binary(min_size=32, max_size=32)))


@given(RECORDS, st.integers(0, 2**32))
def test_sums_do_not_depend_on_order_and_can_be_undone(records: list[tuple[bytes, int, bytes]], seed: int) -> None:
    total = sethash.EMPTY
    for record in records:
        total = sethash.add(total, sethash.element(*record))
    assert sethash.from_bytes(sethash.to_bytes(total)) == total
    random.Random(seed).shuffle(records)
    for record in records:
        total = sethash.subtract(total, sethash.element(*record))
    assert total == sethash.EMPTY


def test_every_part_of_a_record_counts() -> None:
    elements = {
        sethash.element(b"k", 1, b"h" * 32),
        sethash.element(b"k2", 1, b"h" * 32),
        sethash.element(b"k", 2, b"h" * 32),
        sethash.element(b"k", 1, b"i" * 32),
    }
    assert len(elements) == 4


def test_a_set_hash_has_32_bytes() -> None:
    with pytest.raises(Refused):
        sethash.from_bytes(b"x" * 31)
