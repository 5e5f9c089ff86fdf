# SPDX-License-Identifier: GPL-3.0-or-later
"""The hybrid clock never goes backwards and is not carried away by wrong clocks elsewhere."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from holofsd.core.clock import FOLLOW_MS, MAX_COUNTER, MAX_WALL_MS, HybridClock, above, latest_ms
from holofsd.core.ids import AuthorId, Hlc

ME = AuthorId(b"m" * 32)
OTHER = AuthorId(b"z" * 32)
NOW = 1_700_000_000_000
BUILT = 1_767_225_600_000


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3 * FOLLOW_MS), st.integers(0, 3 * FOLLOW_MS))))
def test_ticks_rise_whatever_the_wall_clock_and_others_do(events: list[tuple[bool, int, int]]) -> None:
    clock = HybridClock(ME)
    last: Hlc | None = None
    for observe, now, other in events:
        if observe:
            clock.observe(Hlc(other, 1, OTHER), now)
        else:
            stamp = clock.tick(now)
            assert last is None or stamp > last
            last = stamp
        assert last is None or (clock.last is not None and clock.last >= last)


def test_a_tick_is_greater_than_what_was_observed() -> None:
    clock = HybridClock(ME)
    seen = Hlc(NOW + 1000, 7, OTHER)
    clock.observe(seen, NOW)
    assert clock.tick(NOW) > seen


def test_a_stamp_more_than_a_day_ahead_is_not_followed() -> None:
    clock = HybridClock(ME)
    clock.observe(Hlc(NOW + FOLLOW_MS + 1, 0, OTHER), NOW)
    assert clock.tick(NOW).wall_ms == NOW


def test_a_write_is_above_a_stamp_of_the_far_future_once_and_the_clock_stays_here() -> None:
    clock = HybridClock(ME)
    far = Hlc(NOW + 100 * FOLLOW_MS, 3, OTHER)
    assert clock.tick(NOW, above=far) > far
    assert clock.tick(NOW).wall_ms == NOW


def test_a_clock_goes_on_from_its_last_stamp_after_a_restart() -> None:
    last = HybridClock(ME).tick(NOW)
    assert HybridClock(ME, last).tick(NOW - 5000) > last


def test_what_is_above_the_last_stamp_that_is_accepted_is_accepted_a_moment_later() -> None:
    last = Hlc(latest_ms(NOW), MAX_COUNTER, OTHER)
    assert latest_ms(NOW) < HybridClock(ME).tick(NOW, above=last).wall_ms == latest_ms(BUILT) + 1
    assert HybridClock(ME).tick(BUILT, above=last).wall_ms <= latest_ms(BUILT + 1)


def test_a_clock_that_is_set_to_long_ago_or_far_ahead_changes_little_about_what_is_accepted() -> None:
    assert latest_ms(0) == latest_ms(NOW) == latest_ms(BUILT)
    assert latest_ms(2**62) == latest_ms(2**60) < MAX_WALL_MS // 2


def test_a_device_with_a_clock_that_is_far_ahead_gives_stamps_that_others_accept() -> None:
    assert HybridClock(ME).tick(2**50).wall_ms < latest_ms(0)


def test_what_an_earlier_program_stamped_with_a_wrong_clock_is_not_gone_on_from() -> None:
    assert HybridClock(ME, Hlc(latest_ms(0) + 1, 0, ME)).tick(NOW) == Hlc(NOW, 0, ME)
    ahead = Hlc(latest_ms(0) - FOLLOW_MS, 0, ME)
    assert HybridClock(ME, ahead).tick(NOW) > ahead


def test_a_device_with_a_clock_that_is_far_ahead_follows_nobody_beyond_what_others_accept() -> None:
    clock = HybridClock(ME)
    clock.observe(Hlc(latest_ms(2**50), 0, OTHER), 2**50)
    assert clock.tick(2**50).wall_ms < latest_ms(0)


def test_the_counter_runs_over_into_the_time_and_stops_at_the_end_of_the_range() -> None:
    assert above(Hlc(0, 0, ME), Hlc(5, MAX_COUNTER, OTHER)) == Hlc(6, 0, ME)
    end = Hlc(MAX_WALL_MS, MAX_COUNTER, OTHER)
    assert above(Hlc(0, 0, ME), end) == Hlc(MAX_WALL_MS, MAX_COUNTER, ME)
