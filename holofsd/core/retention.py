# SPDX-License-Identifier: GPL-3.0-or-later
"""How long what was replaced or removed is kept. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

from holofsd.core.errors import BadArgument

DAY_S: Final = 86_400
DAY_MS: Final = DAY_S * 1000
_MOST_S: Final = 1000 * 365 * DAY_S


@dataclass(frozen=True, slots=True)
class HistoryPolicy:
    """Seconds. Replaced versions: all of them for `all_s`, after that one a day (the last) until `daily_s`.

    `daily_s` is also how long removed files stay in the trash, and how far back the volume can be looked at.
    """

    all_s: int = 30 * DAY_S
    daily_s: int = 365 * DAY_S

    def checked(self) -> HistoryPolicy:
        """Raises BadArgument."""
        if not 0 <= self.all_s <= _MOST_S or not 0 <= self.daily_s <= _MOST_S:
            raise BadArgument("A time to keep history is between 0 and a thousand years.")
        if self.daily_s < self.all_s:
            raise BadArgument("One version a day has to be kept at least as long as all versions are.")
        return self

    def thin_before_ms(self, now_ms: int) -> int:
        """Whole days (UTC) before this time keep one version of each file. The day that is cut waits."""
        return max(now_ms - self.all_s * 1000, 0) // DAY_MS * DAY_MS

    def purge_before_ms(self, now_ms: int) -> int:
        return now_ms - self.daily_s * 1000

    def encode(self) -> bytes:
        return json.dumps({"all_s": self.all_s, "daily_s": self.daily_s}).encode()


def decode_policy(stored: bytes | None) -> HistoryPolicy:
    return HistoryPolicy(**json.loads(stored)) if stored else HistoryPolicy()
