# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of content in the bytes of records: found wherever they stand, by either way of searching."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from holofsd.codec import content
from holofsd.core.ids import BlobHash

NAMES = [BlobHash(bytes([number]) * 31 + b"!") for number in range(4)]
OTHERS = [BlobHash(number.to_bytes(32)) for number in range(1 << 20, (1 << 20) + 600)]
"""So many that records are passed over once."""


@given(st.lists(st.one_of(st.sampled_from(NAMES), st.binary(max_size=40)), max_size=8))
def test_both_ways_of_searching_find_every_name(parts: list[bytes]) -> None:
    payload = b"".join(parts)
    expected = {name for name in NAMES if name in payload}
    assert expected >= set(parts) & set(NAMES)
    assert set(content.named_in(payload, NAMES)) == expected
    assert set(content.named_in(payload, dict.fromkeys([*NAMES, *OTHERS]))) == expected
