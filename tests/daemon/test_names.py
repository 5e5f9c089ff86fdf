# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of volumes and devices."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holofsd.core.errors import BadArgument
from holofsd.daemon.config import read_config
from holofsd.daemon.names import check_device_name, check_volume_name, free_name


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


@pytest.mark.parametrize("name", ["", "a/b", "x" * 65, "-x", "..", "0" * 64, "deadbeef", "0123456789AB", "12345678"])
def test_a_device_is_not_called_like_another_ones_id(name: str) -> None:
    with pytest.raises(BadArgument):
        check_device_name(name)


@pytest.mark.parametrize("name", ["beef", "1234567", "deadbeef-2", "facade"])
def test_words_of_few_digits_are_names(name: str) -> None:
    assert check_device_name(name) == name


@pytest.mark.parametrize("machine", ["3f2a9c1b7d4e", "-x", " desk ", "a/b", "\n", "d" * 70])
def test_whatever_the_machine_is_called_the_device_gets_a_good_name(machine: str, tmp_path: Path) -> None:
    name = read_config(str(tmp_path), False, {"HOLOFS_DEVICE_NAME": machine}).device_name
    assert check_device_name(name) == name
