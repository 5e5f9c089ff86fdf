# SPDX-License-Identifier: GPL-3.0-or-later
"""Registration of handles that several operations want at the same time: one call at a time, and no operation fails for
another one's."""

from __future__ import annotations

import asyncio
import errno
from typing import Any

import pytest

from holofs_api.v1 import filesystem_pb2 as pb
from holofs_mount.core.content import MappedBody
from holofs_mount.core.openfile import Handle, HandleTable, OpenFile, Registration
from holofs_mount.core.registration import Registrar


class Calls:
    """Calls to a daemon that answers when told to."""

    def __init__(self) -> None:
        self.made: list[tuple[str, asyncio.Future[Any]]] = []

    async def call(self, name: str, request: Any) -> Any:
        answer = asyncio.get_running_loop().create_future()
        self.made.append((name, answer))
        return await answer

    async def answer(self, result: Any) -> None:
        _, future = self.made[-1]
        if isinstance(result, OSError):
            future.set_exception(result)
        else:
            future.set_result(result)
        await turns()


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.fixture
def calls() -> Calls:
    return Calls()


@pytest.fixture
def registrar(calls: Calls) -> Registrar:
    return Registrar(calls, None)  # type: ignore[arg-type]


@pytest.fixture
def handle() -> Handle:
    file = OpenFile(5, MappedBody(pb.ContentMap(version=b"v")), pb.Attr(ino=5), b"v")
    handle = Handle(7, file, write=False, append=False, pid=1, registration=Registration.UNREGISTERED)
    HandleTable().add(handle)
    return handle


REPLY = pb.OpenReply(map=pb.ContentMap(version=b"v"))


async def test_a_handle_is_registered_once_however_many_want_it(
    calls: Calls, registrar: Registrar, handle: Handle
) -> None:
    """A reader is registered after its close, and the name is removed meanwhile."""
    lingering = asyncio.ensure_future(registrar.register(handle))
    await turns()
    removing = asyncio.ensure_future(registrar.register_all(handle.file))
    await turns()
    assert [name for name, _ in calls.made] == ["open"]
    assert not removing.done(), "the name is not removed before the daemon knows the handle"
    await calls.answer(REPLY)
    await asyncio.gather(lingering, removing)
    assert handle.was_registered
    assert len(calls.made) == 1


async def test_a_registration_that_failed_is_tried_again_by_the_next(
    calls: Calls, registrar: Registrar, handle: Handle
) -> None:
    lingering = asyncio.ensure_future(registrar.register(handle))
    await turns()
    removing = asyncio.ensure_future(registrar.register_all(handle.file))
    await turns()
    await calls.answer(OSError(errno.EIO, "the daemon had a bad moment"))
    with pytest.raises(OSError, match="bad moment"):
        await lingering
    await calls.answer(REPLY)
    await removing
    assert handle.was_registered


@pytest.mark.parametrize("refusal", [errno.EINVAL, errno.ESTALE, errno.EIO])
async def test_what_the_daemon_says_of_a_handle_is_no_answer_to_who_removes_the_name(
    calls: Calls, registrar: Registrar, handle: Handle, refusal: int
) -> None:
    removing = asyncio.ensure_future(registrar.register_all(handle.file))
    await turns()
    await calls.answer(OSError(refusal, "refused"))
    await removing
    assert not handle.was_registered


async def test_a_daemon_that_is_away_is_an_answer(calls: Calls, registrar: Registrar, handle: Handle) -> None:
    removing = asyncio.ensure_future(registrar.register_all(handle.file))
    await turns()
    await calls.answer(OSError(errno.ETIMEDOUT, "away"))
    with pytest.raises(TimeoutError):
        await removing


async def test_a_handle_that_a_commit_releases_is_registered_after_that(
    calls: Calls, registrar: Registrar, handle: Handle
) -> None:
    handle.set_registered(True)
    async with handle.registering:  # as a commit on its way
        removing = asyncio.ensure_future(registrar.register_all(handle.file))
        await turns()
        assert not calls.made
        handle.set_registered(False)
    await turns()
    await calls.answer(REPLY)
    await removing
    assert handle.was_registered
