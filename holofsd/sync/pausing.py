# SPDX-License-Identifier: GPL-3.0-or-later
"""Pauses: a person stops the traffic of a volume, with a device, or of everything, for a while or until told otherwise.

They are stored with the device, with their end, and hold over restarts. A paused volume goes on working here: what is
written gets its records, and they are sent when the pause is over. `SyncHub` obeys them: no session, no content and,
where two devices share nothing that is not paused, no connection.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import structlog

from holofs_api.words import coming_time
from holofsd.core.ids import DeviceId, VolumeId
from holofsd.store.device import DeviceStore

log = structlog.get_logger(__name__)

_PREFIX: Final = "pause:"
"""Beginning of the names of meta values that hold pauses. The rest of a name is the target, the value its end."""
UNTIL_RESUMED: Final = 0


class PausedKind(StrEnum):
    EVERYTHING = "everything"
    VOLUME = "volume"
    DEVICE = "device"


@dataclass(frozen=True, slots=True)
class PauseTarget:
    """Thing that is paused: a volume or a device by its id, or everything."""

    kind: PausedKind
    id: bytes = b""


ALL_TRAFFIC: Final = PauseTarget(PausedKind.EVERYTHING)


def of_volume(volume: VolumeId) -> PauseTarget:
    return PauseTarget(PausedKind.VOLUME, volume)


def of_device(device: DeviceId) -> PauseTarget:
    return PauseTarget(PausedKind.DEVICE, device)


@dataclass(frozen=True, slots=True)
class Pause:
    """`until_ms`: wall time of its end; `UNTIL_RESUMED`: a person ends it."""

    target: PauseTarget
    until_ms: int

    def holds(self, now_ms: int) -> bool:
        return self.until_ms == UNTIL_RESUMED or self.until_ms > now_ms

    def ends_later(self, other: Pause) -> bool:
        return other.until_ms != UNTIL_RESUMED and (self.until_ms == UNTIL_RESUMED or self.until_ms > other.until_ms)


class Pauses:
    """All pauses of a device. Subscribers are called after each change, also when one runs out (`expire`)."""

    def __init__(self, store: DeviceStore, now_ms: Callable[[], int]) -> None:
        self._store = store
        self._now_ms = now_ms
        self._subscribers: list[Callable[[], None]] = []
        self._pauses = {pause.target: pause for pause in _stored(store)}

    def subscribe(self, callback: Callable[[], None]) -> None:
        self._subscribers.append(callback)

    # ---- what is paused
    def all(self) -> list[Pause]:
        """Pauses that hold now: of everything, of volumes, then of devices."""
        now_ms = self._now_ms()
        held = [pause for pause in self._pauses.values() if pause.holds(now_ms)]
        order = list(PausedKind)
        return sorted(held, key=lambda pause: (order.index(pause.target.kind), pause.target.id))

    def of(self, volume: VolumeId, device: DeviceId | None = None) -> Pause | None:
        """The pause because of which a volume has no traffic (with that device), the longest if there are several."""
        targets = [ALL_TRAFFIC, of_volume(volume)]
        if device is not None:
            targets.append(of_device(device))
        now_ms, found = self._now_ms(), None
        for target in targets:
            pause = self._pauses.get(target)
            if pause is not None and pause.holds(now_ms) and (found is None or pause.ends_later(found)):
                found = pause
        return found

    def why(self, volume: VolumeId, others: Collection[DeviceId], seconds: float = 0.0) -> str:
        """Sentence for a person where nothing comes to a volume for so many seconds at least, from none of the other
        devices; else empty."""
        pause = self.of(volume)
        if pause is None and others:
            found = [self.of(volume, device) for device in others]
            held = [one for one in found if one is not None]
            if len(held) == len(found):
                pause = next(one for one in held if not any(one.ends_later(other) for other in held if other != one))
        if pause is None or not pause.holds(self._now_ms() + int(seconds * 1000)):
            return ""
        what = "Everything" if pause.target.kind is PausedKind.EVERYTHING else "This volume"
        if pause.target.kind is PausedKind.DEVICE:
            what = "Each other device of this volume"
        return f"{what} is paused here{self._end(pause)}: `holofsctl resume` ends that."

    def _end(self, pause: Pause) -> str:
        if pause.until_ms == UNTIL_RESUMED:
            return ""
        return f" until {coming_time(pause.until_ms, self._now_ms())}"

    def next_end_ms(self) -> int | None:
        """Wall time at which the next pause runs out; None where none does."""
        ends = [pause.until_ms for pause in self._pauses.values() if pause.until_ms != UNTIL_RESUMED]
        return min(ends, default=None)

    # ---- what changes it
    def put(self, target: PauseTarget, until_ms: int) -> None:
        """Pauses something, in place of what was said of it before."""
        with self._store.db.transaction():
            self._store.set_meta(_name(target), str(until_ms).encode())
        self._pauses[target] = Pause(target, until_ms)
        log.info("paused", what=target.kind.value, id=target.id.hex()[:8], until_ms=until_ms)
        self._tell()

    def end(self, targets: Collection[PauseTarget]) -> None:
        """Ends these pauses, where there are any."""
        ended = [target for target in targets if target in self._pauses]
        if not ended:
            return
        with self._store.db.transaction():
            for target in ended:
                self._store.delete_meta(_name(target))
        for target in ended:
            del self._pauses[target]
            log.info("a pause is over", what=target.kind.value, id=target.id.hex()[:8])
        self._tell()

    def end_all(self) -> None:
        self.end(list(self._pauses))

    def expire(self) -> None:
        """Ends what has run out."""
        now_ms = self._now_ms()
        self.end([target for target, pause in self._pauses.items() if not pause.holds(now_ms)])

    def _tell(self) -> None:
        for callback in self._subscribers:
            callback()


def _name(target: PauseTarget) -> str:
    return f"{_PREFIX}{target.kind.value}:{target.id.hex()}"


def _stored(store: DeviceStore) -> Iterator[Pause]:
    for name, value in store.metas(_PREFIX):
        kind, _, told = name.removeprefix(_PREFIX).partition(":")
        yield Pause(PauseTarget(PausedKind(kind), bytes.fromhex(told)), int(value))
