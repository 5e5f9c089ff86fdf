# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls that the journal of a mount may have in it, as values (ADR 11).

The same call arrives over the fast lane, or is read from the journal of a mount that is gone.
"""

from __future__ import annotations

from dataclasses import dataclass

from google.protobuf.message import DecodeError

from holofs_api.v1 import filesystem_pb2 as pb
from holofsd.core.errors import BadArgument, HoloError
from holofsd.core.ids import Ino
from holofsd.fs.decoding import async_file, ino_of, set_attr
from holofsd.fs.types import AsyncCreate, CreateRequest, SetAttr


@dataclass(frozen=True, slots=True)
class CreateFile:
    """A new file, with its content."""

    request: CreateRequest
    file: AsyncCreate

    @property
    def ino(self) -> Ino:
        return self.file.ino


@dataclass(frozen=True, slots=True)
class CreateDir:
    """A new directory, under its leased number."""

    parent: Ino
    name: bytes
    mode: int
    folder: AsyncCreate

    @property
    def ino(self) -> Ino:
        return self.folder.ino


@dataclass(frozen=True, slots=True)
class RemoveName:
    """Unlink or rmdir of a name that leads to `ino`."""

    parent: Ino
    name: bytes
    ino: Ino
    is_dir: bool


@dataclass(frozen=True, slots=True)
class SetModeAndTime:
    """A mode or time; never a size."""

    ino: Ino
    change: SetAttr


@dataclass(frozen=True, slots=True)
class SenselessCall:
    """A call that cannot be run on any day: it is decided with this error, so that it holds up nothing."""

    error: HoloError

    @property
    def ino(self) -> Ino:
        return Ino(0)


JournalledCall = CreateFile | CreateDir | RemoveName | SetModeAndTime | SenselessCall
"""`parent` is checked when the call runs: a new file that no directory can take is not senseless, but saved beside the
volume."""


def decode_call(request: pb.CallRequest, *, late: bool) -> JournalledCall:
    """Raises BadArgument for a call that no journal may have, StaleHandle for a number that no inode has."""
    call = request.WhichOneof("call")
    if call == "create" and request.create.ino and request.create.HasField("data"):
        create = request.create
        file = async_file(create, journalled=True, late=late)
        asked = CreateRequest(Ino(create.parent), create.name, create.mode, async_create=file, wants_lease=create.lease)
        return CreateFile(asked, file)
    if call == "make_dir" and request.make_dir.ino:
        folder = request.make_dir
        made = AsyncCreate(ino_of(folder.ino), journalled=True, late=late)
        return CreateDir(Ino(folder.parent), folder.name, folder.mode, made)
    if call == "unlink" and request.unlink.ino:
        return _removal(request.unlink, is_dir=False)
    if call == "remove_dir" and request.remove_dir.ino:
        return _removal(request.remove_dir, is_dir=True)
    if call == "set_attr" and request.set_attr.ino and not request.set_attr.HasField("size"):
        return SetModeAndTime(ino_of(request.set_attr.ino), set_attr(request.set_attr))
    raise BadArgument("This call cannot be kept in a journal.")


def _removal(request: pb.UnlinkRequest, *, is_dir: bool) -> RemoveName:
    return RemoveName(Ino(request.parent), request.name, ino_of(request.ino), is_dir)


def decode_record(body: bytes) -> JournalledCall:
    """Decodes a record of a journal. It comes later than what has its name by now. Raises BadArgument if it makes no
    sense."""
    try:
        return decode_call(pb.CallRequest.FromString(body), late=True)
    except DecodeError as error:
        raise BadArgument(str(error)) from None
    except HoloError as error:
        raise BadArgument(error.message) from None
