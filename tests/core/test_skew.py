# SPDX-License-Identifier: GPL-3.0-or-later
"""Wrong clocks are attributed as far as that can be known."""

from __future__ import annotations

import pytest

from holofsd.core.skew import WrongClock, judge, sentence


@pytest.mark.parametrize(
    ("ahead", "found"),
    [
        ({}, ()),
        ({"bob": 1500, "cid": -1500}, ()),
        ({"bob": 90_000}, (WrongClock("bob", 90_000, False),)),
        ({"bob": 90_000, "cid": 100}, (WrongClock("bob", 89_900, True),)),
        ({"bob": 90_000, "cid": 90_100}, (WrongClock("", -90_000, True),)),
        ({"bob": -90_000, "cid": 60_000}, (WrongClock("bob", -90_000, False), WrongClock("cid", 60_000, False))),
        (
            {"bob": 90_000, "cid": 90_100, "dan": 0},
            (WrongClock("bob", 90_000, False), WrongClock("cid", 90_100, False)),
        ),
        ({"bob": 50, "cid": 60, "dan": 3_600_000, "eve": -50_000}, "dan eve"),
    ],
)
def test_the_majority_of_clocks_is_right(ahead: dict[str, int], found: tuple[WrongClock, ...] | str) -> None:
    wrong = judge(ahead)
    if isinstance(found, str):
        assert [clock.name for clock in wrong] == found.split()
        assert all(clock.certain for clock in wrong)
    else:
        assert [(w.name, w.certain) for w in wrong] == [(w.name, w.certain) for w in found]
        assert all(abs(w.ahead_ms - f.ahead_ms) <= 200 for w, f in zip(wrong, found, strict=True))


def test_the_sentence_names_the_clock_or_says_that_it_cannot() -> None:
    assert "This device's clock is 90 s behind the others" in sentence(WrongClock("", -90_000, True))
    assert "The clock of bob is 60 min ahead of the others" in sentence(WrongClock("bob", 3_600_000, True))
    assert "one of the two is wrong" in sentence(WrongClock("bob", 86_400_000, False))
    assert "400 days" in sentence(WrongClock("bob", 400 * 86_400_000, False))
