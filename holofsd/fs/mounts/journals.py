# SPDX-License-Identifier: GPL-3.0-or-later
"""Journals of mounts: calls that a mount acknowledged early run once, in their order, whatever is killed (ADR 11).

A mount that answers a program before the daemon has done what was asked writes the call into its journal first. The
call comes with its number, and the transaction that carries it out notes the number: all up to that one are decided.
What a mount that is gone has left in its journal, and whatever journals hold when the daemon starts, is carried out
from there: before anybody else changes the tree it is what it would be had nothing been killed.

What cannot be done now (the disk is full) holds up what comes after it, and is tried again by the mount, or by the
daemon once the mount is gone. What can never be done is decided with its failure; but a new file (an async create) that
the volume will never take, because this device may not write any more, ends as a plain file beside the volume's index.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
import sqlite3
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import structlog

from holofs_api.journal import records
from holofs_api.numbers import MAX_INTEGER
from holofsd.core.errors import (
    BadArgument,
    DamagedIndex,
    HoloError,
    NameTooLong,
    NoSpace,
    NotYet,
    ReadOnly,
    StaleHandle,
    TooBig,
)
from holofsd.core.ids import Ino
from holofsd.fs.journalled_calls import CreateDir, CreateFile, JournalledCall, decode_record
from holofsd.fs.mounts.journal_runner import JournalRunner
from holofsd.fs.types import Attachment, Attr, Created
from holofsd.store.database import Database
from holofsd.store.decided_calls import DecidedCalls

log = structlog.get_logger(__name__)

_NAME: Final = re.compile(r"[0-9a-f]{32}\Z")
_PATIENCE_S: Final = 5.0
"""For mounts to hear that what they did is done."""
_REST_S: Final = 30.0
"""Between two attempts to carry out what a mount has left."""


@dataclass(slots=True)
class _Progress:
    applied: int = 0
    """All calls up to this number are decided."""
    blocked: bool = False
    """The next one was tried, and is tried again later."""
    made_late: set[Ino] = field(default_factory=set)
    """By creates that were held up."""


class Journals:
    """Journals of one volume. Each call runs in the transaction that notes its number as decided."""

    def __init__(self, db: Database, directory: Path, runner: JournalRunner | None, no_mount: Attachment) -> None:
        """`runner` None: no journals, as for a copy that is only read. `no_mount`: runs what mounts left."""
        self._db = db
        self._applied = DecidedCalls(db)
        self._folder = directory / "journals"
        self._unsaved = directory / "unsaved"
        self._runner = runner
        self._no_mount = no_mount
        self._known: dict[str, _Progress] = {}
        self._waiters: list[asyncio.Future[None]] = []
        """Of those who wait for the next call of any journal."""
        self._rest_until: dict[str, float] = {}
        """Of journals that could not be carried out."""

    # ---- calls
    def once(self, att: Attachment, number: int, call: JournalledCall, *, late: bool = False) -> Created | Attr | None:
        """Runs a call of an attachment's journal. Returns its result; None if it has none, or was decided before.

        `late`: it was held up, and what comes to others' files then may be older than what was done to them since.
        Raises what the call raises; NotYet: this call, or one before it, is to be repeated.
        """
        name = os.path.basename(att.journal)
        progress = self._progress(name)
        if number <= progress.applied:
            return None
        if number > progress.applied + 1:
            raise NotYet("Something that comes before this is still to be done.")
        if late and not _is_create(call) and call.ino not in progress.made_late:
            log.warning("a removal, mode or time came too late and was left out", journal=name, ino=call.ino)
            self._decide_or_wait(progress, name, number)
            return None
        try:
            result = self._attempt(progress, name, number, call, att)
        except Exception as error:
            if number <= progress.applied:
                raise  # it is done, and something else failed
            if _is_create(call) and _can_never_be(error):
                self._give_up(progress, name, number, call)
                raise
            if _is_create(call) or _may_pass(error) or isinstance(error, ReadOnly):
                progress.blocked = True
                if _is_create(call):
                    raise
                raise NotYet(f"This cannot be done now: {error}") from error
            self._decide_or_wait(progress, name, number)
            raise
        if late and _is_create(call):
            progress.made_late.add(call.ino)
        return result

    def _give_up(self, progress: _Progress, name: str, number: int, call: JournalledCall) -> None:
        """Decides a create that will never succeed, so that it does not hold up what follows."""
        try:
            self._save_beside(name, number, call)
        except OSError as error:
            progress.blocked = True
            raise NotYet(f"This cannot be kept elsewhere now: {error}") from error
        self._decide_or_wait(progress, name, number)

    def _decide_or_wait(self, progress: _Progress, name: str, number: int) -> None:
        try:
            self._decide(progress, name, number)
        except (HoloError, OSError, sqlite3.Error) as error:
            progress.blocked = True
            raise NotYet(f"The index cannot be written: {error}") from error

    def _attempt(
        self, progress: _Progress, name: str, number: int, call: JournalledCall, att: Attachment
    ) -> Created | Attr | None:
        assert self._runner is not None
        with self._db.transaction():
            self._db.after_commit(lambda: self._decided(progress, number))
            result = self._runner.run(att, call)
            self._note(name, number)
        return result

    def _decide(self, progress: _Progress, name: str, number: int) -> None:
        """Notes that a call is not done, and never will be."""
        with self._db.transaction():
            self._note(name, number)
        self._decided(progress, number)

    def _decided(self, progress: _Progress, number: int) -> None:
        progress.applied = number
        progress.blocked = False
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _note(self, name: str, number: int) -> None:
        self._applied.note(name, number)

    def _progress(self, name: str) -> _Progress:
        known = self._known.get(name)
        if known is None:
            known = self._known[name] = _Progress(self._applied.up_to(name))
        return known

    # ---- files
    def path(self, name: str, answered: int) -> str:
        """Returns the path where a mount may keep the journal that it calls so; empty: nowhere. `answered`: numbers up
        to this were decided, perhaps by an index that was replaced by its backup since."""
        if self._runner is None or not _NAME.match(name):
            return ""
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            progress = self._progress(name)
            if progress.applied < answered <= MAX_INTEGER:
                self._decide(progress, name, answered)
        except (HoloError, OSError, sqlite3.Error):  # the disk is full, most likely
            return ""
        return str(self._folder / name)

    def waiting(self) -> int:
        """The number of journals with calls that mounts acknowledged and that are not in the index yet."""
        return sum(self._progress(path.name).applied < _last_number(path) for path in self._files())

    async def caught_up(self, paths: Iterable[str]) -> None:
        """Returns when all that is in these journals now is carried out, in seconds at most. For those of mounts that
        are attached."""
        last = {Path(path).name: _last_number(Path(path)) for path in paths}
        with suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE_S):
                while any(self._goes_on(name, number) for name, number in last.items()):
                    waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                    self._waiters.append(waiter)
                    await waiter

    def _goes_on(self, name: str, number: int) -> bool:
        progress = self._progress(name)
        return progress.applied < number and not progress.blocked

    def carry_out_all(self) -> None:
        """Carries out all journals when the daemon starts, also those of mounts that live: nothing may come before what
        is in them."""
        for path in self._files():
            self._carry_out(path, of_the_living=True)
        present = {path.name for path in self._files()}
        for name in self._applied.journals():
            if name not in present:
                with suppress(HoloError, sqlite3.Error):
                    self._forget(name)

    def carry_out_left(self, attached: set[str]) -> None:
        """Carries out the journals of mounts that are gone and not among these."""
        for path in self._files():
            if path.name not in attached and time.monotonic() > self._rest_until.get(path.name, 0.0):
                self._carry_out(path, of_the_living=False)

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob("*")) if self._runner is not None else []

    def _carry_out(self, path: Path, *, of_the_living: bool) -> None:
        """Carries out one journal. Whatever is wrong with it is logged: the volume is opened, and other mounts come and
        go."""
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                self._carry_out_file(path, descriptor, of_the_living)
            finally:
                os.close(descriptor)
        except FileNotFoundError:
            return
        except (HoloError, OSError, sqlite3.Error) as error:
            self._rest_until[path.name] = time.monotonic() + _REST_S
            log.error("a journal cannot be carried out now", journal=path.name, problem=str(error))

    def _carry_out_file(self, path: Path, descriptor: int, of_the_living: bool) -> None:
        gone = _is_left_alone(descriptor)
        if not (gone or of_the_living):
            return
        with open(descriptor, "rb", closefd=False) as file:
            data = file.read()
        for number, body in records(data):
            if number > self._progress(path.name).applied and not self._carry_out_one(path.name, number, body, gone):
                return
        if gone:
            path.unlink()
            self._forget(path.name)

    def _carry_out_one(self, name: str, number: int, body: bytes, gone: bool) -> bool:
        """False: a mount that lives will say it again. Raises what may pass."""
        progress = self._progress(name)
        try:
            call = decode_record(body)
        except BadArgument as error:
            log.error("a record of a journal makes no sense", journal=name, number=number, problem=str(error))
            self._decide(progress, name, number)
            return True
        try:
            self._attempt(progress, name, number, call, self._no_mount)
        except Exception as error:
            if number <= progress.applied:
                return True
            if not gone:
                return False  # perhaps it is about a file that the mount alone knows yet
            if _may_pass(error):
                raise
            log.warning("a call of a journal failed", journal=name, number=number, problem=str(error))
            if _is_create(call):
                self._save_beside(name, number, call)
            self._decide(progress, name, number)
        return True

    def _save_beside(self, name: str, number: int, call: JournalledCall) -> None:
        """Saves as a plain file beside the volume what the volume will never take. Raises OSError."""
        if isinstance(call, CreateFile) and call.file.data:
            path = self._unsaved / f"{name[:8]}-{number}-{_harmless(call.request.name)}"
            self._unsaved.mkdir(mode=0o700, exist_ok=True)
            path.write_bytes(call.file.data)
            log.error("a closed file that the volume does not take is kept beside it", path=str(path))

    def _forget(self, name: str) -> None:
        """Forgets a journal whose file is gone."""
        self._known.pop(name, None)
        self._rest_until.pop(name, None)
        with self._db.transaction():
            self._applied.forget(name)


def _is_create(call: JournalledCall) -> bool:
    return isinstance(call, CreateFile | CreateDir)


def _may_pass(error: Exception) -> bool:
    return isinstance(error, NoSpace | DamagedIndex | OSError | sqlite3.Error)


def _can_never_be(error: Exception) -> bool:
    """Whether a call makes no sense on any day, because of a name, a size or a number that nothing can have."""
    return isinstance(error, BadArgument | NameTooLong | StaleHandle | TooBig | ValueError | ArithmeticError)


def _last_number(path: Path) -> int:
    try:
        return max((number for number, _ in records(path.read_bytes())), default=0)
    except OSError:
        return 0


def _harmless(name: bytes) -> str:
    return re.sub(r"[^\w.-]", "_", name.decode("utf-8", "replace"))[:100]


def _is_left_alone(descriptor: int) -> bool:
    """No mount that lives holds it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
