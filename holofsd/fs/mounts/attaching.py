# SPDX-License-Identifier: GPL-3.0-or-later
"""Mounts come, go and come back; what they left open is finalized when they cannot be writing any more.

A staging file is written by the mount itself. As long as the process of any mount that knew this volume lives and has
not come back, a file without a known writer is not finalized but copied: a program that writes to it does no harm.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Callable, Iterable

import structlog

from holofs_api import PAST_INO
from holofsd.core.errors import HoloError
from holofsd.core.ids import Ino
from holofsd.fs.changes.watch import Watchers
from holofsd.fs.content.opening import Opening
from holofsd.fs.content.writing import Writing
from holofsd.fs.mounts.journals import Journals
from holofsd.fs.mounts.processes import fingerprint, is_alive
from holofsd.fs.nodes.unlinking import Unlinking
from holofsd.fs.shared.attrs import Attributes
from holofsd.fs.shared.scope import Scope
from holofsd.fs.shared.staged import StagedFile, StagedFiles
from holofsd.fs.types import Attachment, AttachRequest, OpenHandle

log = structlog.get_logger(__name__)

_META = "mounts"
_NS = 1_000_000_000


class Attaching:
    """Attachments of mounts: their coming, their return with open handles, and their end."""

    def __init__(
        self,
        scope: Scope,
        attributes: Attributes,
        staged: StagedFiles,
        unlinking: Unlinking,
        writing: Writing,
        opening: Opening,
        watchers: Watchers,
        journals: Journals,
        name: str,
    ) -> None:
        self._scope = scope
        self._attributes = attributes
        self._staged = staged
        self._unlinking = unlinking
        self._writing = writing
        self._opening = opening
        self._watchers = watchers
        self._journals = journals
        self._name = name
        self._attached: dict[str, Attachment] = {}
        self._absent: dict[str, float] = {}
        """Mounts that were attached, with the monotonic time of their going."""
        self._processes: dict[str, str] = json.loads(scope.store.meta(_META) or b"{}")
        started = time.monotonic()
        for mount_id in self._processes:
            self._absent[mount_id] = started
        scope.files.awaited.update(self._processes)
        self._waiting_since = started
        self._waiting = bool(self._processes)
        """Just started, and mounts of the last time may still come back."""
        self.is_of_the_past: Callable[[Ino], bool] = lambda ino: False
        """Whether a number of the past is known. Set by who composes the filesystem."""

    # ---- open inodes
    def is_open(self, ino: Ino) -> bool:
        """Whether a program may have the inode open. Just after a start: any inode, until the mounts are back."""
        return self._scope.files.is_open(ino) or self._staged.of(ino) is not None or self._waiting

    # ---- coming
    def attach(self, request: AttachRequest) -> Attachment:
        mount_id = request.mount_id
        before = self._attached.pop(mount_id, None)
        if before is not None:
            self._watchers.remove(before)
            before.journal = ""  # what comes late on its lane is in the journal, too
        self._carry_out_left()
        self._absent.pop(mount_id, None)
        attachment = Attachment(
            id=secrets.token_hex(16),
            volume=self._scope.store.volume,
            volume_name=self._name,
            request=request,
            read_only=request.read_only or not self._scope.remote.can_write,
        )
        if not request.read_only:
            attachment.journal = self._journals.path(request.journal, request.answered)
        self._take_back(attachment, request.handles)
        self._attached[mount_id] = attachment
        self._watchers.add(attachment)
        # The others first: what they make from now on excludes what this one makes.
        attachment.shared = len(self._attached) > 1
        self._watchers.company_changed(attachment.shared)
        self._remember(mount_id, fingerprint(request.pid))
        return attachment

    def journals(self, but: str = "") -> list[str]:
        """Paths of the journals of mounts that are attached; not that of this mount id."""
        return [att.journal for mount_id, att in self._attached.items() if att.journal and mount_id != but]

    def _carry_out_left(self) -> None:
        self._journals.carry_out_left({os.path.basename(path) for path in self.journals()})

    def _take_back(self, attachment: Attachment, handles: Iterable[OpenHandle]) -> None:
        """Registers the handles that the mount still has open, all of them before any other is released.

        Those whose inode is gone become `lost_handles`. Those whose staging file was finalized or removed stay open, as
        `displaced_handles`: the mount stages the file again.
        """
        files, mount_id = self._scope.files, attachment.request.mount_id
        lost: list[int] = []
        displaced: list[int] = []
        kept: set[int] = set()
        for known in handles:
            opened = files.find(mount_id, known.handle)
            if opened is not None and opened.ino != known.ino:
                self._opening.release(None, opened)
                opened = None
            if not self._is_there(known):
                lost.append(known.handle)
                continue
            if opened is None:
                opened = files.add(mount_id, known.handle, known.ino, write=known.write)
            opened.staged = known.staged and self._is_current(known)
            if known.staged and not opened.staged:
                displaced.append(known.handle)
            kept.add(known.handle)
        files.awaited.discard(mount_id)
        for opened in files.of_mount(mount_id):
            if opened.key[1] not in kept:
                self._opening.release(attachment, opened)
        attachment.lost_handles, attachment.displaced_handles = tuple(lost), tuple(displaced)

    def _is_there(self, known: OpenHandle) -> bool:
        if known.handle == 0:
            return False
        if known.ino >= PAST_INO:
            return self.is_of_the_past(known.ino)
        if self._scope.nodes.inode(known.ino) is None:
            return False
        return not known.staged or bool(known.staging) or self._staged.of(known.ino) is not None

    def _is_current(self, known: OpenHandle) -> bool:
        """Whether the staging file that the mount writes to is the one of the inode."""
        staged = self._staged.of(known.ino)
        return staged is not None and known.staging in ("", str(staged.path))

    def _remember(self, mount_id: str, process: str | None) -> None:
        """Stores which process belongs to a mount, for the time after a restart."""
        if self._processes.get(mount_id) == process:
            return
        if process is None:
            self._processes.pop(mount_id, None)
        else:
            self._processes[mount_id] = process
        with self._scope.db.transaction():
            self._scope.store.set_meta(_META, json.dumps(self._processes).encode())

    # ---- going
    def detach(self, attachment: Attachment) -> None:
        """The connection is gone. What the mount has open waits for its return."""
        self._watchers.remove(attachment)
        mount_id = attachment.request.mount_id
        if self._attached.get(mount_id) is attachment:
            del self._attached[mount_id]
            self._absent[mount_id] = time.monotonic()
            self._watchers.company_changed(len(self._attached) > 1)

    async def tend(self) -> None:
        """Called every second or so: lets go of mounts that are gone, versions what is open for long."""
        self._carry_out_left()
        now = time.monotonic()
        living = False
        waited = now > self._waiting_since + self._scope.settings.reattach
        for mount_id, since in list(self._absent.items()):
            alive = is_alive(self._processes.get(mount_id, ""))
            if not alive:
                self._scope.files.awaited.discard(mount_id)
            if not alive or now > since + self._scope.settings.reattach:
                self._let_go(mount_id, only_readers=alive)
            living |= alive
            if not alive:
                del self._absent[mount_id]
                self._remember(mount_id, None)
        for staged in self._staged.all():
            await self._tend_staged(staged, living)
        if self._waiting and (waited or not living):
            self._waiting = False
            self._forget_detached()

    def _let_go(self, mount_id: str, only_readers: bool) -> None:
        """Releases the handles of a mount; with `only_readers` not those that may still write: a staging file must not
        be finalized while its program writes."""
        for opened in self._scope.files.of_mount(mount_id):
            if not (only_readers and opened.staged):
                self._opening.release(None, opened)

    async def _tend_staged(self, staged: StagedFile, living: bool) -> None:
        if self._staged.of(staged.ino) is not staged:
            return
        if not living and not self._scope.files.is_open_for_writing(staged.ino):
            self._writing.finalize_if_unwritten(staged.ino)
            self._drop_if_orphan(staged)
        elif self._is_due(staged):
            try:
                await self._writing.snapshot(staged)
            except (HoloError, OSError) as error:
                log.warning("an open file could not be given a version yet", ino=staged.ino, problem=str(error))

    def _drop_if_orphan(self, staged: StagedFile) -> None:
        view = self._scope.tree.view(staged.ino)
        if self._scope.files.is_open(staged.ino) or self._staged.of(staged.ino) is not staged:
            return
        if view is not None and self._attributes.is_orphan(view):
            with self._scope.db.transaction():
                self._unlinking.forget_detached(staged.ino)

    def _is_due(self, staged: StagedFile) -> bool:
        """5 s of quiet, at most once a minute, if there is something new."""
        settings = self._scope.settings
        if time.monotonic() < staged.snapshot_at + settings.snapshot_every or staged.is_clean():
            return False
        view = self._scope.tree.view(staged.ino)
        if view is None or self._attributes.is_orphan(view):
            return False
        # The distance, for the clock may have been set back since.
        return abs(self._scope.now_ns() - staged.stat().st_ctime_ns) > int(settings.quiet * _NS)

    def _forget_detached(self) -> None:
        """Inodes that were detached before a restart, for handles that did not come back."""
        for ino in self._scope.nodes.detached():
            if not self._scope.files.is_open(ino) and self._staged.of(ino) is None:
                with self._scope.db.transaction():
                    self._unlinking.forget_detached(ino)
