# SPDX-License-Identifier: GPL-3.0-or-later
"""Text of other devices: what is hidden in it, the same with every version of Python."""

from __future__ import annotations

import unicodedata

from holofsd.core.ids import AuthorId, Dot
from holofsd.core.project import conflict_name
from holofsd.core.text import device_name, without_hidden

HIDDEN = ("Cc", "Cf", "Cs", "Co", "Zl", "Zp", "Zs")
LATER = "\U0001fae9"
"""A face of Unicode 16, which Python 3.11 does not know."""


def test_every_character_that_is_not_seen_is_replaced_and_no_other_one() -> None:
    tables = unicodedata.ucd_3_2_0  # the same in every Python
    for number in range(0x110000):
        character = chr(number)
        hidden = character != " " and unicodedata.category(character) in HIDDEN
        replaced = without_hidden(character) != character or number == 0
        assert not hidden or replaced, hex(number)
        assert not replaced or hidden or tables.category(character) == "Cn", hex(number)


def test_a_character_that_is_newer_than_this_python_stays_in_names() -> None:
    assert device_name(LATER, 10) == LATER
    assert LATER.encode() in conflict_name(b"file", LATER, 0, Dot(AuthorId(b"a" * 32), 1))
