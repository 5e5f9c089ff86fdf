# SPDX-License-Identifier: GPL-3.0-or-later
"""Relays that this device may use: those that a person configured, not those that somebody else names."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

from holofsd.net.api import ANY_RELAY


class KnownRelays:
    """`own`: what this device uses itself; `allowed`: others' relays, or `ANY_RELAY`."""

    def __init__(self, own: Iterable[str], allowed: Iterable[str]) -> None:
        self._any = ANY_RELAY in allowed
        self._known = {_normal(url) for url in (*own, *allowed)}

    def may_be_used(self, url: str) -> bool:
        return self._any or ((normal := _normal(url)) in self._known and normal != "")


def _normal(url: str) -> str:
    """One relay's URL, however it is written; empty where it is none."""
    try:
        parts = urlsplit(url.strip())
        port = parts.port
    except ValueError:
        return ""
    host = (parts.hostname or "").rstrip(".")
    if parts.scheme not in ("http", "https") or not host or parts.username or parts.password:
        return ""
    usual = {"http": 80, "https": 443}[parts.scheme]
    return f"{parts.scheme}://{host}:{port or usual}{parts.path.rstrip('/')}"
