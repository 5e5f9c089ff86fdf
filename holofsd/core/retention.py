# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules for how long replaced and removed versions are kept, and how much of them. Pure."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

from holofsd.core.errors import BadArgument

DAY_S: Final = 86_400
DAY_MS: Final = DAY_S * 1000
_MOST_S: Final = 1000 * 365 * DAY_S
_MOST_BYTES: Final = 1 << 62
_AT_LEAST: Final = 10 << 30
"""Bytes of history that a device keeps by default however small its volumes are, if its disk is large enough."""
MINUTE_MS: Final = 60_000
HOUR_MS: Final = 60 * MINUTE_MS

THINNED: Final = ((MINUTE_MS, MINUTE_MS), (HOUR_MS, HOUR_MS), (DAY_MS, DAY_MS))
"""What goes first when there is too much (a grandfather-father-son rotation): of the versions of a file that stood for
less than the first number of ms, all but the last one in each span of the second. After that the oldest go."""

Key = TypeVar("Key", bound=Hashable)


def default_budget(disk_bytes: int, live_bytes: int) -> int:
    """Bytes of history and trash that a device keeps: a tenth of the disk, and no more than 10 GiB or, if that is more,
    what its files take."""
    return min(disk_bytes // 10, max(_AT_LEAST, live_bytes))


def fair_shares(budget: int, used: Mapping[Key, int]) -> dict[Key, int]:
    """Max-min fair division of a budget: who uses less than an equal share leaves the rest to the others."""
    shares: dict[Key, int] = {}
    left = budget
    for number, key in enumerate(sorted(used, key=lambda key: used[key])):
        shares[key] = left // (len(used) - number)
        left -= min(shares[key], used[key])
    return shares


@dataclass(frozen=True, slots=True)
class HistoryPolicy:
    """Seconds. Replaced versions: all of them for `all_s`, after that one a day (the last) until `daily_s`.

    `daily_s` is also how long removed files stay in the trash, and how far back the volume can be looked at.
    `max_bytes`: how much of both this volume keeps; None: it shares in what the device keeps.
    """

    all_s: int = 30 * DAY_S
    daily_s: int = 365 * DAY_S
    max_bytes: int | None = None

    def checked(self) -> HistoryPolicy:
        """Raises BadArgument."""
        if not 0 <= self.all_s <= _MOST_S or not 0 <= self.daily_s <= _MOST_S:
            raise BadArgument("A time to keep history is between 0 and a thousand years.")
        if self.max_bytes is not None and not 0 <= self.max_bytes <= _MOST_BYTES:
            raise BadArgument("What history may take is a size, and not below 0.")
        if self.daily_s < self.all_s:
            raise BadArgument("One version a day has to be kept at least as long as all versions are.")
        return self

    def thin_before_ms(self, now_ms: int) -> int:
        """Whole days (UTC) before this time keep one version of each file. The day that is cut waits."""
        return max(now_ms - self.all_s * 1000, 0) // DAY_MS * DAY_MS

    def purge_before_ms(self, now_ms: int) -> int:
        return now_ms - self.daily_s * 1000

    def encode(self) -> bytes:
        kept = {"all_s": self.all_s, "daily_s": self.daily_s}
        return json.dumps(kept if self.max_bytes is None else kept | {"max_bytes": self.max_bytes}).encode()


def decode_policy(stored: bytes | None) -> HistoryPolicy:
    return HistoryPolicy(**json.loads(stored)) if stored else HistoryPolicy()
