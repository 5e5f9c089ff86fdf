# SPDX-License-Identifier: GPL-3.0-or-later
"""A record that leaves out what others say: together with theirs it says the same as before."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from holofsd.core.join import join
from holofsd.core.state import NodeState
from holofsd.core.unsaid import smaller_records
from tests.core.test_join import AUTHORS, exactly, states


@settings(max_examples=400)
@given(st.none() | states(), states(), st.sets(AUTHORS))
def test_nothing_is_missing_from_all_records_together(
    others: NodeState | None, own: NodeState, ours: set[bytes]
) -> None:
    state = own if others is None else join(others, own)
    *faithful, _last = smaller_records(state, others, ours)  # type: ignore[arg-type]
    assert len(faithful) == 4
    for smaller in faithful:
        assert set(smaller.versions) <= set(state.versions)
        assert all(smaller.context.get(dot.author, 0) >= dot.counter for dot in smaller.versions)
        together = smaller if others is None else join(others, smaller)
        assert exactly(together) == exactly(state)
