# SPDX-License-Identifier: GPL-3.0-or-later
"""Links and sessions: good once, for a while, and few."""

from __future__ import annotations

from holofs_window.sessions import (
    DOWNLOAD_S,
    IDLE_S,
    LINK_S,
    MOST_LINKS,
    MOST_SESSIONS,
    BrowserSession,
    Secrets,
    Sessions,
)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def entered(sessions: Sessions) -> tuple[Secrets, BrowserSession]:
    secrets = sessions.redeem(sessions.new_link())
    assert secrets is not None
    session = sessions.find(secrets.cookie, secrets.key)
    assert session is not None
    return secrets, session


def test_a_link_is_good_once() -> None:
    sessions = Sessions(Clock())
    link = sessions.new_link()
    assert sessions.redeem("another") is None
    assert sessions.redeem(link) is not None
    assert sessions.redeem(link) is None


def test_a_link_ends_after_a_while_and_where_there_are_many() -> None:
    clock = Clock()
    sessions = Sessions(clock)
    late, first = sessions.new_link(), sessions.new_link()
    for _ in range(MOST_LINKS - 1):
        sessions.new_link()
    assert sessions.redeem(late) is None
    assert sessions.redeem(first) is not None
    last = sessions.new_link()
    clock.now += LINK_S
    assert sessions.redeem(last) is None


def test_a_session_needs_both_of_its_secrets() -> None:
    sessions = Sessions(Clock())
    mine, session = entered(sessions)
    other, _ = entered(sessions)
    assert sessions.find(mine.cookie, other.key) is None
    assert sessions.find(other.key, mine.cookie) is None
    assert sessions.find("", "") is None
    assert sessions.find(mine.cookie, mine.key) is session
    assert mine.cookie not in repr((mine, session))
    assert mine.key not in repr((mine, session))


def test_a_second_link_in_one_browser_leaves_its_first_page_in() -> None:
    sessions = Sessions(Clock())
    first, session = entered(sessions)
    second = sessions.redeem(sessions.new_link(), first.cookie)
    assert second is not None
    assert second.cookie == ""
    assert sessions.find(first.cookie, first.key) is sessions.find(first.cookie, second.key) is session
    other = sessions.redeem(sessions.new_link(), "no cookie of ours")
    assert other is not None
    assert other.cookie


def test_a_session_ends_when_no_page_uses_it() -> None:
    clock = Clock()
    sessions = Sessions(clock)
    secrets, session = entered(sessions)
    clock.now += IDLE_S - 1
    assert sessions.find(secrets.cookie, secrets.key) is session
    session.streams = 1
    clock.now += IDLE_S
    assert sessions.in_use
    session.streams = 0
    clock.now += IDLE_S
    assert sessions.find(secrets.cookie, secrets.key) is None
    assert sessions.is_over(session)
    assert not sessions.in_use


def test_the_session_that_was_not_used_for_longest_gives_way() -> None:
    clock = Clock()
    sessions = Sessions(clock)
    all_of_them = []
    for _ in range(MOST_SESSIONS):
        all_of_them.append(entered(sessions))
        clock.now += 1
    sessions.of_cookie(all_of_them[0][0].cookie)
    clock.now += 1
    entered(sessions)
    over = [sessions.is_over(session) for _, session in all_of_them]
    assert over == [False, True, *[False] * (MOST_SESSIONS - 2)]


def test_a_download_is_offered_once_to_one_session() -> None:
    clock = Clock()
    sessions = Sessions(clock)
    (_, mine), (_, other) = entered(sessions), entered(sessions)
    offer = sessions.offer(mine, "docs", b"a")
    assert sessions.take(other, offer) is None
    found = sessions.take(mine, offer)
    assert found is not None
    assert (found.volume, found.path) == ("docs", b"a")
    assert sessions.take(mine, offer) is None
    late = sessions.offer(mine, "docs", b"a")
    clock.now += DOWNLOAD_S
    assert sessions.take(mine, late) is None
