# SPDX-License-Identifier: GPL-3.0-or-later
"""Links that are good once, and the sessions that they begin.

A session has two secrets: a cookie, which the browser keeps from scripts, and a key, which the page keeps from other
pages. A browser sends a cookie to every port of a host, so the page of another user's program on this machine could
get it; the key stays with the page. Only hashes of all secrets are kept here.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

LINK_S: Final = 300.0
"""How long a link is good."""
IDLE_S: Final = 1800.0
"""How long a session lasts that no page uses."""
DOWNLOAD_S: Final = 60.0
MOST_LINKS: Final = 8
MOST_SESSIONS: Final = 8
MOST_STREAMS: Final = 8
"""Pages of one session that are kept up to date at once."""
_MOST_DOWNLOADS: Final = 64
_MOST_KEYS: Final = 16
_SECRET_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Download:
    """A file that may be fetched once, by its address alone."""

    volume: str
    path: bytes
    ends: float


@dataclass(eq=False, slots=True)
class BrowserSession:
    """Browser that was let in."""

    cookie: bytes
    """Hash of it; likewise each of `keys`, one for each link that the browser used."""
    keys: list[bytes]
    used: float
    streams: int = 0
    downloads: dict[bytes, Download] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Secrets:
    """Secrets that a browser gets when it is let in."""

    cookie: str
    """Empty: it keeps the one that it has."""
    key: str

    def __repr__(self) -> str:
        return "Secrets(<hidden>)"


class Sessions:
    """Links and sessions of one window. `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._links: dict[bytes, float] = {}
        self._sessions: dict[bytes, BrowserSession] = {}

    # ---- coming in
    def new_link(self) -> str:
        """The secret of a link. The oldest ones end where there are too many."""
        self._tidy()
        while len(self._links) >= MOST_LINKS:
            del self._links[next(iter(self._links))]
        secret = secrets.token_urlsafe(_SECRET_BYTES)
        self._links[_hash(secret)] = self._clock() + LINK_S
        return secret

    def redeem(self, secret: str, cookie: str = "") -> Secrets | None:
        """Begins a session by a link, which ends with it; None if it is not good. `cookie`: of the browser; its session
        goes on, so that the pages that it has open do."""
        self._tidy()
        if self._links.pop(_hash(secret), None) is None:
            return None
        known = self.of_cookie(cookie)
        if known is not None:
            key = secrets.token_urlsafe(_SECRET_BYTES)
            known.keys = [*known.keys, _hash(key)][-_MOST_KEYS:]
            return Secrets("", key)
        if len(self._sessions) >= MOST_SESSIONS:
            oldest = min(self._sessions.values(), key=lambda session: (session.streams, session.used))
            self.end(oldest)
        made = Secrets(secrets.token_urlsafe(_SECRET_BYTES), secrets.token_urlsafe(_SECRET_BYTES))
        session = BrowserSession(_hash(made.cookie), [_hash(made.key)], self._clock())
        self._sessions[session.cookie] = session
        return made

    # ---- being in
    def of_cookie(self, cookie: str) -> BrowserSession | None:
        """The session of a cookie, which is used with this."""
        self._tidy()
        session = self._sessions.get(_hash(cookie))
        if session is not None:
            session.used = self._clock()
        return session

    def find(self, cookie: str, key: str) -> BrowserSession | None:
        """The session of both secrets."""
        session = self.of_cookie(cookie)
        return session if session is not None and _hash(key) in session.keys else None

    def end(self, session: BrowserSession) -> None:
        self._sessions.pop(session.cookie, None)

    def is_over(self, session: BrowserSession) -> bool:
        return self._sessions.get(session.cookie) is not session

    @property
    def in_use(self) -> bool:
        """Returns whether a link or a session is still good."""
        self._tidy()
        return bool(self._links or self._sessions)

    # ---- downloads
    def offer(self, session: BrowserSession, volume: str, path: bytes) -> str:
        """The secret by which a file can be fetched once, with the cookie of the session."""
        while len(session.downloads) >= _MOST_DOWNLOADS:
            del session.downloads[next(iter(session.downloads))]
        secret = secrets.token_urlsafe(_SECRET_BYTES)
        session.downloads[_hash(secret)] = Download(volume, path, self._clock() + DOWNLOAD_S)
        return secret

    def take(self, session: BrowserSession, secret: str) -> Download | None:
        offered = session.downloads.pop(_hash(secret), None)
        return offered if offered is not None and offered.ends > self._clock() else None

    def _tidy(self) -> None:
        now = self._clock()
        self._links = {link: ends for link, ends in self._links.items() if ends > now}
        for session in [*self._sessions.values()]:
            if session.streams:
                session.used = now
            elif session.used + IDLE_S <= now:
                self.end(session)


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()
