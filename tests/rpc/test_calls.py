# SPDX-License-Identifier: GPL-3.0-or-later
"""The stream of calls, the stream of changes, attachments, and the same calls as unary methods."""

from __future__ import annotations

import asyncio
import errno
import sqlite3
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from holofs_api import API_VERSION
from holofs_api.errors import ATTACHMENT_KEY, detail_of
from holofs_api.v1 import filesystem_pb2 as pb
from holofs_api.v1.filesystem_pb2_grpc import FilesystemStub
from holofsd.core.ids import Ino
from holofsd.fs import types as fs
from holofsd.rpc.errors import describe
from support.fake_device import FakeDevice


async def eventually(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not true():  # noqa: ASYNC110 - the fakes tell nobody
            await asyncio.sleep(0.002)


async def attach(channel: Any, **fields: Any) -> tuple[Any, list[tuple[str, str]]]:
    request = pb.AttachRequest(**{"api_version": API_VERSION, "volume": "docs", "mount_id": "m", **fields})
    reply = await FilesystemStub(channel).Attach(request)
    return reply, [(ATTACHMENT_KEY, reply.attachment)]


class Stream:
    """The client's side of `Calls`."""

    def __init__(self, channel: Any, metadata: Any) -> None:
        self.call = FilesystemStub(channel).Calls(metadata=metadata)

    async def ask(self, number: int, **call: Any) -> None:
        await self.call.write(pb.CallRequest(id=number, **call))

    async def hear(self) -> pb.CallReply:
        async with asyncio.timeout(30):
            reply = await self.call.read()
        assert isinstance(reply, pb.CallReply)
        return reply


@pytest.fixture
async def stream(channel: Any) -> Stream:
    _, metadata = await attach(channel)
    return Stream(channel, metadata)


async def test_attaching_says_where_the_root_is_and_what_a_commit_may_carry(channel: Any) -> None:
    reply, _ = await attach(channel, read_only=True)
    assert (reply.root, reply.volume_name, reply.read_only) == (1, "docs", True)
    assert reply.inline_limit == 65536
    assert not reply.HasField("inos")
    writer, _ = await attach(channel)
    assert (writer.inos.first, writer.inos.count) == (1000, 10)


async def test_another_api_version_is_refused_in_one_sentence(channel: Any) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await attach(channel, api_version=API_VERSION + 1, program="holofs-mount 9")
    detail = detail_of(refused.value)
    assert detail.code == "version-mismatch"
    assert "holofs-mount 9" in detail.message
    assert "\n" not in detail.message


async def test_a_volume_that_is_not_here_is_refused_with_errno_and_code(channel: Any) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await attach(channel, volume="nowhere")
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND
    assert (detail_of(refused.value).errno, detail_of(refused.value).code) == (errno.ENOENT, "volume-unknown")


async def test_a_call_of_the_stream_is_answered_under_its_own_number(stream: Stream) -> None:
    await stream.ask(7, lookup=pb.LookupRequest(parent=41, name=b"a"))
    reply = await stream.hear()
    assert (reply.id, reply.attr.ino, reply.attr.kind, reply.attr.mode) == (7, 42, pb.KIND_FILE, 0o640)


async def test_a_result_without_fields_is_still_a_result(stream: Stream) -> None:
    await stream.ask(1, release=pb.ReleaseRequest(handle=1))
    assert (await stream.hear()).WhichOneof("result") == "done"


async def test_a_designed_error_carries_its_errno_code_and_sentence(stream: Stream) -> None:
    await stream.ask(1, lookup=pb.LookupRequest(parent=1, name=b"missing"))
    error = (await stream.hear()).error
    assert (error.errno, error.code, error.message) == (errno.ENOENT, "no-such-name", "There is no such name.")


async def test_an_error_nobody_expected_is_an_input_output_error_and_the_stream_goes_on(
    stream: Stream, caplog: pytest.LogCaptureFixture
) -> None:
    await stream.ask(1, lookup=pb.LookupRequest(parent=1, name=b"defect"))
    error = (await stream.hear()).error
    assert (error.errno, error.code) == (errno.EIO, "internal")
    assert "nobody expected this" not in error.message
    await stream.ask(2, lookup=pb.LookupRequest(parent=1, name=b"a"))
    assert (await stream.hear()).attr.ino == 2


async def test_a_call_that_this_daemon_does_not_know_is_refused_and_the_stream_goes_on(stream: Stream) -> None:
    await stream.ask(1)
    assert (await stream.hear()).error.errno == errno.EINVAL
    await stream.ask(2, lookup=pb.LookupRequest(parent=1, name=b"a"))
    assert (await stream.hear()).id == 2


@pytest.mark.parametrize(
    "waiting",
    [{"fetch": pb.FetchRequest(ino=5, length=9)}, {"lookup": pb.LookupRequest(parent=5, name=b"slow")}],
    ids=["fetch", "lookup"],
)
async def test_a_waiting_call_does_not_hold_up_those_behind_it(
    stream: Stream, device: FakeDevice, waiting: dict[str, Any]
) -> None:
    await stream.ask(1, **waiting)
    await stream.ask(2, lookup=pb.LookupRequest(parent=1, name=b"a"))
    assert (await stream.hear()).id == 2
    device.fs.gate.set()
    reply = await stream.hear()
    assert (reply.id, reply.HasField("error")) == (1, False)


async def test_a_timeout_inside_a_call_does_not_reach_the_stream(stream: Stream) -> None:
    await stream.ask(1, set_attr=pb.SetAttrRequest(ino=3, size=0))
    assert (await stream.hear()).attr.ino == 3


async def test_many_calls_in_flight_are_all_answered_once(stream: Stream, device: FakeDevice) -> None:
    for number in range(1500):
        slow = number % 3 == 0
        await stream.ask(number, lookup=pb.LookupRequest(parent=1, name=b"slow" if slow else b"a"))
        if number == 900:
            device.fs.gate.set()
    heard = [(await stream.hear()).id for _ in range(1500)]
    assert sorted(heard) == list(range(1500))


async def test_a_commit_that_was_begun_is_finished_when_its_client_goes(stream: Stream, device: FakeDevice) -> None:
    await stream.ask(1, commit=pb.CommitRequest(handle=8, data=b"precious"))
    await stream.ask(2, fetch=pb.FetchRequest(ino=5, length=9))
    await stream.ask(3, lookup=pb.LookupRequest(parent=1, name=b"a"))
    await stream.hear()
    stream.call.cancel()
    await eventually(lambda: device.fs.cut_short == 1)
    assert device.fs.committed == []
    device.fs.gate.set()
    await eventually(lambda: device.fs.committed == [(8, b"precious")])
    await eventually(lambda: len(device.fs.detached) == 1)


async def test_the_end_of_the_last_stream_detaches_the_client(channel: Any, device: FakeDevice) -> None:
    _, metadata = await attach(channel)
    stream = Stream(channel, metadata)
    watch = FilesystemStub(channel).Watch(pb.WatchRequest(), metadata=metadata)
    await watch.read()
    await stream.ask(1, release=pb.ReleaseRequest())
    await stream.hear()
    await stream.call.done_writing()
    assert await stream.call.read() is grpc.aio.EOF
    assert device.fs.detached == []
    watch.cancel()
    await eventually(lambda: device.fs.detached == device.fs.attached)
    assert device.fs.watching == 0
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await FilesystemStub(channel).GetAttr(pb.GetAttrRequest(ino=1), metadata=metadata)
    assert detail_of(refused.value).errno == errno.ESTALE


async def test_a_stream_without_an_attachment_is_refused(channel: Any) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await FilesystemStub(channel).Calls(metadata=[(ATTACHMENT_KEY, "nobody")]).read()
    assert detail_of(refused.value).errno == errno.ESTALE


async def test_unary_methods_mean_the_same_as_the_stream(channel: Any) -> None:
    stub = FilesystemStub(channel)
    _, metadata = await attach(channel)
    assert (await stub.Lookup(pb.LookupRequest(parent=9, name=b"a"), metadata=metadata)).ino == 10
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.Lookup(pb.LookupRequest(parent=9, name=b"missing"), metadata=metadata)
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND
    assert detail_of(refused.value).message == "There is no such name."
    with pytest.raises(grpc.aio.AioRpcError) as late:
        await stub.Fetch(pb.FetchRequest(ino=1, length=1), metadata=metadata)
    assert detail_of(late.value).errno == errno.ETIMEDOUT


async def test_a_content_map_keeps_its_order_and_the_kind_of_every_part(stream: Stream) -> None:
    await stream.ask(1, open=pb.OpenRequest(ino=1, handle=1))
    content = (await stream.hear()).open.map
    kinds = [(part.offset, part.length, part.WhichOneof("source")) for part in content.extents]
    assert kinds == [(0, 6, "inline"), (6, 4, "local"), (10, 5, "hole"), (15, 7, "remote")]
    assert (content.extents[1].local.path, content.extents[1].local.offset) == ("/content/ab", 2)


async def test_names_travel_as_bytes_whatever_they_are(stream: Stream) -> None:
    await stream.ask(1, read_dir=pb.ReadDirRequest(ino=1, limit=3000))
    listing = (await stream.hear()).read_dir
    assert len(listing.entries) == 3000
    assert listing.entries[0].name == b"0001\xff"
    assert listing.complete


async def test_a_watch_tells_changes_in_order_and_that_the_daemon_goes_down(
    state: Any, channel: Any, device: FakeDevice
) -> None:
    _, metadata = await attach(channel)
    watch = FilesystemStub(channel).Watch(pb.WatchRequest(), metadata=metadata)
    assert await watch.read() == pb.Change()
    device.fs.changes.put_nowait(fs.ChangeBatch(entries=(fs.EntryChange(Ino(1), b"n\xff", Ino(2), True),)))
    device.fs.changes.put_nowait(fs.ChangeBatch(inodes=(fs.InodeChange(Ino(2), True, True, b"new", b"old"),)))
    first, second = await watch.read(), await watch.read()
    assert (first.entries[0].name, first.entries[0].gone) == (b"n\xff", True)
    assert (second.inodes[0].version, second.inodes[0].previous, second.inodes[0].elsewhere) == (b"new", b"old", True)


def test_a_call_to_a_volume_that_was_left_is_told_to_attach_again() -> None:
    """Found by fuzzing: it was an internal error."""
    database = sqlite3.connect(":memory:")
    database.close()
    with pytest.raises(sqlite3.ProgrammingError) as caught:
        database.execute("SELECT 1")
    told = describe(caught.value)
    assert (told.errno, told.code) == (errno.ESTALE, "stale-handle")


async def test_no_call_reaches_a_volume_that_is_closed(channel: Any, device: FakeDevice) -> None:
    _, metadata = await attach(channel)
    stream = Stream(channel, metadata)
    device.fs.is_closed = True
    await stream.ask(1, stage=pb.StageRequest(handle=1))
    assert (await stream.hear()).error.code == "stale-handle"
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await FilesystemStub(channel).Stage(pb.StageRequest(handle=1), metadata=metadata)
    assert detail_of(refused.value).code == "stale-handle"
