# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of volumes on a device."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holofsd.core.errors import BadArgument
from holofsd.daemon.names import check_volume_name, free_name


@pytest.mark.parametrize("name", ["", "a/b", "x" * 101, "-x", ".", "..", "a\nb", " a", "0" * 64, "\x1b[2J"])
def test_a_name_that_would_be_mistaken_is_refused(name: str) -> None:
    with pytest.raises(BadArgument):
        check_volume_name(name)


@given(st.text(max_size=300), st.sets(st.text(max_size=5), max_size=5))
def test_whatever_others_call_a_volume_there_is_a_good_name_for_it_here(wanted: str, taken: set[str]) -> None:
    name = free_name(wanted, taken)
    assert check_volume_name(name) == name
    assert name not in taken


def test_a_name_that_is_taken_gets_a_number() -> None:
    assert free_name("docs", ()) == "docs"
    assert free_name("docs", ("docs", "docs-2")) == "docs-3"
