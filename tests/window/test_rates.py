# SPDX-License-Identifier: GPL-3.0-or-later
"""Rates from counters: over some seconds, zero when nothing goes on, and none of a counter that began anew."""

from __future__ import annotations

from holofs_window.rates import RateMeter


def test_a_rate_is_taken_over_some_seconds_and_ends_with_the_traffic() -> None:
    meter = RateMeter(over_s=4)
    assert meter.note(0, {"": (0, 0)}) == {"": [0, 0]}
    assert meter.note(2, {"": (2000, 0)}) == {"": [1000, 0]}
    assert meter.note(2.5, {"": (2000, 500)}) == {"": [800, 200]}  # a short look does not jump
    assert meter.note(4, {"": (4000, 500)}) == {"": [1000, 125]}
    meter.note(6, {"": (4000, 500)})
    assert meter.note(8, {"": (4000, 500)}) == {"": [0, 0]}


def test_a_new_device_and_a_daemon_that_began_anew_have_no_rate_at_first() -> None:
    meter = RateMeter(over_s=4)
    meter.note(0, {"": (9000, 9000)})
    assert meter.note(2, {"": (10, 10), "desk": (500, 500)}) == {"": [0, 0], "desk": [0, 0]}
    meter.note(4, {"": (20, 10), "desk": (500, 500)})
    assert meter.note(6, {"": (210, 10), "desk": (900, 500)}) == {"": [50, 0], "desk": [100, 0]}
