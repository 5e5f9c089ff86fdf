# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls that are in the journal of a mount (ADR 11): which they may be, and how one is carried out in one go."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final

from google.protobuf.message import DecodeError

from holofs_api.v1 import filesystem_pb2 as pb
from holofsd.core.errors import BadArgument, HoloError, NotYet
from holofsd.core.ids import Ino
from holofsd.fs.api import Filesystem
from holofsd.fs.mounts.journals import Kept
from holofsd.fs.types import Attachment, Promised
from holofsd.rpc.fs_calls import BY_FIELD, Caller, create_as, make_dir_as, promised_file
from holofsd.rpc.fs_convert import ino_of

_OTHERS: Final = frozenset({"unlink", "remove_dir", "set_attr"})


def carry_out(caller: Caller, request: pb.CallRequest, field: str, out: Any) -> None:
    """Once. Said again, it is answered with nothing. What makes no sense is decided as well: it holds up nothing."""
    try:
        call, senseless = _kept(caller, field, getattr(request, field), out, late=request.late), None
    except HoloError as error:
        call, senseless = Kept(False, _raising(error), Ino(0)), error
    if not caller.attachment.journal:
        raise senseless or NotYet("This client keeps no journal now.")
    caller.filesystem.once(caller.attachment, request.number, call, late=request.late and senseless is None)
    if senseless is not None:
        raise senseless


def read(filesystem: Filesystem, att: Attachment, body: bytes) -> Kept:
    """Decodes a record of a journal into its call. It comes later than what has its name by now. Raises BadArgument if
    it makes no sense."""
    try:
        request = pb.CallRequest.FromString(body)
    except DecodeError as error:
        raise BadArgument(str(error)) from None
    field = request.WhichOneof("call") or ""
    if field not in BY_FIELD:
        raise BadArgument("The daemon does not know this call.")
    try:
        return _kept(Caller(filesystem, att), field, getattr(request, field), BY_FIELD[field].reply(), late=True)
    except HoloError as error:
        raise BadArgument(error.message) from None


def _raising(error: HoloError) -> Callable[[], None]:
    def work() -> None:
        raise error

    return work


def _kept(caller: Caller, field: str, asked: Any, out: Any, *, late: bool) -> Kept:
    if field == "create" and asked.ino and asked.HasField("data"):
        file = promised_file(asked, kept=True, late=late)
        return Kept(True, lambda: _run(create_as(caller, asked, out, file)), file.ino, asked.name, asked.data)
    if field == "make_dir" and asked.ino:
        folder = Promised(ino_of(asked.ino), kept=True, late=late)
        return Kept(True, lambda: _run(make_dir_as(caller, asked, out, folder)), folder.ino, asked.name)
    if field in _OTHERS and asked.ino and not (field == "set_attr" and asked.HasField("size")):
        return Kept(False, lambda: _run(BY_FIELD[field].run(caller, asked, out)), ino_of(asked.ino))
    raise BadArgument("This call cannot be kept in a journal.")


def _run(call: Coroutine[Any, Any, None]) -> None:
    """Runs a call to its end inside a transaction, where nothing may wait."""
    try:
        call.send(None)
    except StopIteration:
        return
    call.close()
    raise RuntimeError("a call that is kept in a journal waited")
