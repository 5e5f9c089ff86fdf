# SPDX-License-Identifier: GPL-3.0-or-later
"""Running one call of a journal, by plain functions: it happens in the transaction that notes the call as decided."""

from __future__ import annotations

from typing import assert_never

from holofsd.fs.content.changing import Changing
from holofsd.fs.decoding import ino_of
from holofsd.fs.journalled_calls import CreateDir, CreateFile, JournalledCall, RemoveName, SenselessCall, SetModeAndTime
from holofsd.fs.mounts.async_creates import AsyncCreates
from holofsd.fs.names.naming import Naming
from holofsd.fs.types import Attachment, Attr, Created


class JournalRunner:
    """The operations are the same plain functions that `VolumeFilesystem` wraps for calls that a program waits for."""

    def __init__(self, async_creates: AsyncCreates, naming: Naming, changing: Changing) -> None:
        self._async_creates = async_creates
        self._naming = naming
        self._changing = changing

    def run(self, att: Attachment, call: JournalledCall) -> Created | Attr | None:
        """Runs a call for an attachment, inside a transaction. Raises what the operation raises."""
        match call:
            case CreateFile(request, file):
                ino_of(request.parent)  # StaleHandle for a number that no inode has
                return self._async_creates.create(att, request, file)
            case CreateDir(parent, name, mode, folder):
                return self._async_creates.make_dir(att, ino_of(parent), name, mode, folder)
            case RemoveName(parent, name, ino, is_dir):
                remove = self._naming.remove_dir if is_dir else self._naming.unlink
                remove(att, ino_of(parent), name, ino)
                return None
            case SetModeAndTime(ino, change):
                return self._changing.set_mode_and_time(att, ino, change)
            case SenselessCall(error):
                raise error
            case _:
                assert_never(call)
