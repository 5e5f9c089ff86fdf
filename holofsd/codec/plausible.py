# SPDX-License-Identifier: GPL-3.0-or-later
"""Numbers in states that no honest program writes, though they can be decoded: times far ahead, impossible sizes.

A record with such numbers is quarantined and never joined: a stamp near the end of its range could not be overtaken by
any later write. The limit of stamps moves with the clock, so what is written above an accepted stamp is accepted, too,
a moment later. An earlier program may have stored such numbers: where they are in a state already, records that pass
them on are taken, for they make nothing worse.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from holofs_api.numbers import MAX_FILE_SIZE
from holofsd.core.clock import latest_ms
from holofsd.core.ids import Hlc
from holofsd.core.state import NodeState

TOO_FAR_AHEAD: Final = "a time more than 200 years ahead; it is tried again later"
TOO_LARGE: Final = "a file that is larger than any can be"


def objection(state: NodeState, stored: Callable[[], NodeState | None], now_ms: int) -> str:
    """Reason why a state from outside is not joined now; "" if nothing speaks against it. `stored` is asked only if
    something does."""
    why = _objection(state, now_ms)
    if why:
        known = stored()
        if known is not None and _objection(known, now_ms):
            return ""
    return why


def _objection(state: NodeState, now_ms: int) -> str:
    if any(version.size > MAX_FILE_SIZE for version in state.versions.values()):
        return TOO_LARGE
    if newest_ms(state) > latest_ms(now_ms):
        return TOO_FAR_AHEAD
    return ""


def newest_ms(state: NodeState) -> int:
    """The wall time of the greatest stamp in a state."""
    return max((stamp.wall_ms for stamp in _stamps(state)), default=0)


def _stamps(state: NodeState) -> Iterator[Hlc]:
    for version in state.versions.values():
        yield version.stamp
        yield version.mtime.stamp
    for link in state.links.values():
        yield link.stamp
    yield from state.removed.links.values()
    yield from state.removed.at.values()
    for register in (state.mode, state.owner, state.times, *state.xattrs.values()):
        if register is not None:
            yield register.stamp
