# SPDX-License-Identifier: GPL-3.0-or-later
"""Fault points: named places between two steps of something that touches more than one store.

docs/crash-windows.md has each name in the row of the step that was just done; a test checks that both agree. Off, a
point costs one call that looks at an empty dictionary. Armed, by a test or by `HOLOFS_FAULTS`, it kills the process
there, stops it until somebody sends SIGCONT, or calls what a test gave.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from holofsd.core.errors import BadConfiguration

VARIABLE: Final = "HOLOFS_FAULTS"
"""`point=kill` or `point=stop`, with `@3` the third time it is reached; several with commas between.

Or the path of a file that holds one such order, or none yet: it is read whenever any point is reached.
"""

POINTS: Final = frozenset({
    *("writing.made", "writing.listed", "writing.finalized", "writing.committed"),
    *("syncing.kept", "syncing.replaced"),
    *("hashing.placed", "hashing.known", "hashing.synced", "cutting.cut", "cutting.placed"),
    *("importing.committed", "importing.synced"),
    *("publishing.begun", "publishing.numbered", "publishing.synced", "publishing.sent"),
    *("receiving.stored", "receiving.advanced", "receiving.merged"),
    *("fetching.part", "fetching.placed", "fetching.known"),
    *("spans.listed", "spans.written", "spans.synced", "spans.known"),
    *("starting.folder", "starting.marked", "rekeying.kept", "rekeying.changed"),
    *("mounting.started", "mounting.noted"),
    *("creating.made", "joining.noted", "joining.granted", "joining.stored", "leaving.aside"),
    "thinning.dropped",
    *("collecting.marked", "collecting.forgotten", "collecting.unlinked"),
    *("rotating.restamped", "rotating.certified", "forgetting.dropped", "folding.named"),
    *("damage.marked", "damage.aside", "damage.whole", "brake.held", "brake.decided", "brake.carried"),
    *("backup.copied", "repairing.salvaged", "repairing.aside", "repairing.placed"),
})  # fmt: skip

Action = Callable[[object], None]
"""Told where: whatever the place passes on, the store of a volume for example."""

_armed: dict[str, Action] = {}


def reach(point: str, where: object = None) -> None:
    """The place named `point` is reached."""
    if _armed:
        action = _armed.get(point)
        if action is not None:
            action(where)


@contextmanager
def armed(point: str, action: Action) -> Iterator[None]:
    """Arms a fault point for tests in this process: `action` runs whenever the point is reached. It may raise."""
    _require_known(point)
    _armed[point] = action
    try:
        yield
    finally:
        del _armed[point]


class Gate:
    """An action that holds whoever reaches the point, in a thread, until it is opened."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self._open = threading.Event()

    def __call__(self, where: object) -> None:
        self.reached.set()
        self._open.wait()

    def open(self) -> None:
        self._open.set()


def arm_from(environment: Mapping[str, str]) -> None:
    """Arms the fault points that `HOLOFS_FAULTS` names. Raises BadConfiguration."""
    orders = environment.get(VARIABLE, "")
    if orders.startswith("/"):
        for point in POINTS:
            _armed[point] = _FromFile(point, Path(orders))
        return
    for order in filter(None, orders.split(",")):
        point, action = _parsed(order)
        _armed[point] = action


def _parsed(order: str) -> tuple[str, _Signal]:
    point, _, what = order.partition("=")
    how, _, times = what.partition("@")
    number = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}.get(how)
    if number is None or not (times or "1").isdecimal():
        raise BadConfiguration(f"{VARIABLE} has {order!r}; it has to be like hashing.placed=kill@3.")
    _require_known(point)
    return point, _Signal(number, int(times or 1))


@dataclass(slots=True)
class _Signal:
    """Sends this process a signal, once: at the n-th time."""

    number: signal.Signals
    times: int

    def __call__(self, where: object) -> None:
        self.times -= 1
        if self.times == 0:
            os.kill(os.getpid(), self.number)


@dataclass(slots=True)
class _FromFile:
    """Looks in a file whether it is this point's turn, and how often it is to be reached from then on."""

    point: str
    file: Path
    _order: str = ""
    _action: Action | None = None

    def __call__(self, where: object) -> None:
        order = self.file.read_text() if self.file.exists() else ""
        if order != self._order:
            point, action = _parsed(order) if order else ("", None)
            self._order, self._action = order, action if point == self.point else None
        if self._action is not None:
            self._action(where)


def _require_known(point: str) -> None:
    if point not in POINTS:
        raise BadConfiguration(f"There is no fault point {point!r}; docs/crash-windows.md lists them.")
