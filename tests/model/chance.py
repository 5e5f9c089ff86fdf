# SPDX-License-Identifier: GPL-3.0-or-later
"""One seed for everything that is left to chance or to the real world: time, threads, random bytes, processes.

Threads run on the loop, at once or a little later, so that a run is the same each time and other work comes in between
where it could. A crash stops what its device still has in threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
from collections.abc import Callable, Coroutine, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any, TypeVar
from unittest.mock import patch

import structlog

from holofsd.fs.content import writing
from holofsd.fs.mounts import attaching
from holofsd.fs.shared import staged
from holofsd.store import faults
from holofsd.sync import content, outgoing, receiving, serving, turns
from model.cheaply import cheaply
from tests.net.virtual import VirtualLoop

T = TypeVar("T")

START_NS = 1_900_000_000_000_000_000
"""Later than the real time, which files on disk carry."""


@dataclass
class Fault:
    """The moment of a crash: the n-th time that this point is reached, or any point if it is empty."""

    point: str
    left: int

    def strikes(self, point: str) -> bool:
        if self.point in ("", point):
            self.left -= 1
        return self.left == 0


class Life:
    """One run of one device, from start to stop or crash."""

    def __init__(self, die: Callable[[str], None]) -> None:
        self.alive = True
        self.fault: Fault | None = None
        self._die = die

    def reach(self, point: str) -> None:
        if self.alive and self.fault is not None and self.fault.strikes(point):
            self.fault = None
            self._die(point)
            # Whatever was running ends here. What others of its tasks still do, nobody sees.
            raise asyncio.CancelledError


LIFE: ContextVar[Life | None] = ContextVar("LIFE", default=None)
"""To whose life the current task belongs."""


def is_dead() -> bool:
    """Whether the current task is of a device that crashed: what it is answered now, nobody ever hears."""
    life = LIFE.get()
    return life is not None and not life.alive


def _reached(point: str, _where: object) -> None:
    life = LIFE.get()
    if life is not None:
        life.reach(point)


MOST_AT_ONCE = 25_000
"""Turns of the loop without any time between them."""


class Stuck(AssertionError):
    """Work that never waits."""


class SeededLoop(VirtualLoop):
    def __init__(self, seed: int) -> None:
        super().__init__()
        self.chance = random.Random(f"threads {seed}")
        self.problems: list[str] = []
        self.turns = 0
        """How often it came around."""
        self._moved_at = self._moved_turn = 0.0
        self.on_stuck: Callable[[], None] = lambda: None
        """Called before Stuck is raised, so that what goes on for ever ends."""
        self.set_exception_handler(lambda _loop, context: self.problems.append(_told(context)))

    def _run_once(self) -> None:
        self.turns += 1
        if self.now != self._moved_at:
            self._moved_at, self._moved_turn = self.now, self.turns
        elif self.turns - self._moved_turn > MOST_AT_ONCE:
            self._moved_turn = self.turns
            self.on_stuck()
            raise Stuck(f"{MOST_AT_ONCE} turns of the loop and no time passes: somebody answers at once, for ever")
        super()._run_once()  # type: ignore[misc]

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> Any:  # type: ignore[override]
        """Blocking work, at one moment; its result comes later."""
        life = LIFE.get()
        done = self.create_future()

        def work() -> None:
            if life is not None and not life.alive:
                return
            try:
                result = func(*args)
            except BaseException as error:  # noqa: BLE001 (it is the waiting task's)
                self.call_later(after, _fail, done, error)
            else:
                self.call_later(after, _finish, done, result)

        before, after = self.chance.choice([(0.0, 0.0), (0.0, 0.003), (0.002, 0.0), (0.0, 0.05)])
        self.call_later(before, work)
        return done


def _finish(future: asyncio.Future[Any], result: Any) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[Any], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)


def _told(context: dict[str, Any]) -> str:
    return f"{context.get('message')}: {context.get('exception')!r}"


class Processes:
    """Mounts are processes: which of them run."""

    def __init__(self) -> None:
        self.running: set[str] = set()
        self._last = 0

    def start(self) -> int:
        self._last += 1
        self.running.add(str(self._last))
        return self._last

    def kill(self, pid: int) -> None:
        self.running.discard(str(pid))


@contextlib.contextmanager
def seeded(seed: int, loop: SeededLoop, processes: Processes) -> Iterator[None]:
    source = random.Random(f"bytes {seed}")
    clock = SimpleNamespace(monotonic=loop.time)
    with contextlib.ExitStack() as stack:
        stack.enter_context(patch.object(secrets, "token_bytes", lambda n=32: source.randbytes(n)))
        stack.enter_context(patch.object(secrets, "token_hex", lambda n=32: source.randbytes(n).hex()))
        for module in (attaching, staged, writing):
            stack.enter_context(patch.object(module, "time", clock))
        stack.enter_context(patch.object(attaching, "fingerprint", str))
        stack.enter_context(patch.object(attaching, "is_alive", processes.running.__contains__))
        stack.enter_context(errors_noticed(loop.problems))
        stack.enter_context(cheaply())
        # Small programs come in several pages and frames as well.
        stack.enter_context(patch.object(outgoing, "PAGE_BYTES", 3_000))
        for module in (content, receiving, turns):
            stack.enter_context(patch.object(module, "BLOB_FRAME", 48 * 1024))
        stack.enter_context(patch.object(serving, "READ_INLINE", 32 * 1024))  # below a frame, as it is
        for point in faults.POINTS:
            stack.enter_context(faults.armed(point, partial(_reached, point)))
        yield


@contextlib.contextmanager
def errors_noticed(problems: list[str]) -> Iterator[None]:
    """An error in the log is a failure; the rest of the log is quiet."""

    def notice(_logger: Any, method: str, event: Any) -> Any:
        if method in ("error", "critical", "exception") and not is_dead():
            problems.append(f"logged: {dict(event)}")
        raise structlog.DropEvent

    before = structlog.get_config()
    structlog.configure(processors=[notice], cache_logger_on_first_use=False)
    try:
        yield
    finally:
        structlog.configure(**before)


class Seeded:
    """A loop that can be run again and again, with everything that is left to chance coming from the seed."""

    def __init__(self, seed: int) -> None:
        self._stack = contextlib.ExitStack()
        self._runner = self._stack.enter_context(asyncio.Runner(loop_factory=lambda: SeededLoop(seed)))
        loop = self._runner.get_loop()
        assert isinstance(loop, SeededLoop)
        self.loop = loop
        self.processes = Processes()
        self._stack.enter_context(seeded(seed, loop, self.processes))

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(main)

    def close(self) -> None:
        self._stack.close()
