# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls that are in the journal of a mount, as they arrive over the fast lane (ADR 11)."""

from __future__ import annotations

from typing import Any

from holofs_api.v1 import filesystem_pb2 as pb
from holofsd.core.errors import HoloError, NotYet
from holofsd.fs.journalled_calls import JournalledCall, SenselessCall, decode_call
from holofsd.fs.types import Created
from holofsd.rpc.fs_calls import Caller, fill_created
from holofsd.rpc.fs_convert import fill_attr


def run_journalled(caller: Caller, request: pb.CallRequest, out: Any) -> None:
    """Runs a call once and fills its reply, which stays empty if the call was decided before.

    A senseless call is decided as well, so that it holds up nothing.
    """
    call, problem = _decoded(request)
    if not caller.attachment.journal:
        raise problem or NotYet("This client keeps no journal now.")
    late = request.late and problem is None
    done = caller.filesystem.run_journalled(caller.attachment, request.number, call, late=late)
    if problem is not None:
        raise problem
    if isinstance(done, Created):
        fill_created(out, done)
    elif done is not None:
        fill_attr(out, done)


def _decoded(request: pb.CallRequest) -> tuple[JournalledCall, HoloError | None]:
    try:
        return decode_call(request, late=request.late), None
    except HoloError as error:
        return SenselessCall(error), error
