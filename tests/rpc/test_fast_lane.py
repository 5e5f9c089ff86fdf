# SPDX-License-Identifier: GPL-3.0-or-later
"""The fast lane: the same calls as the gRPC stream, framed on a socket of its own."""

from __future__ import annotations

import asyncio
import errno
import stat
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holofs_api import API_VERSION
from holofs_api.framing import MAX_FRAME, FrameParser, FrameTooLong, frame
from holofs_api.v1 import filesystem_pb2 as pb
from holofs_api.v1.filesystem_pb2_grpc import FilesystemStub
from holofsd.core.ids import Ino
from holofsd.fs.types import Access, ChangeBatch
from holofsd.rpc.dispatch import MAX_IN_FLIGHT
from support.fake_device import FakeDevice


async def eventually(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not true():  # noqa: ASYNC110 - the fakes tell nobody
            await asyncio.sleep(0.002)


class Client:
    """The client's side, by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def ask(self, number: int, **call: Any) -> None:
        self.writer.write(frame(pb.CallRequest(id=number, **call).SerializeToString()))

    async def frame(self) -> bytes:
        async with asyncio.timeout(30):
            length = int.from_bytes(await self.reader.readexactly(4))
            return await self.reader.readexactly(length)

    async def hear(self) -> pb.CallReply:
        return pb.CallReply.FromString(await self.frame())

    async def is_cut_off(self) -> bool:
        async with asyncio.timeout(30):
            try:
                return await self.reader.read() == b""
            except ConnectionResetError:
                return True


@pytest.fixture
async def dial(state: Path, device: FakeDevice) -> AsyncIterator[Callable[[], Any]]:
    clients: list[Client] = []

    async def connect() -> Client:
        clients.append(Client(*await asyncio.open_unix_connection(str(state / "calls.sock"))))
        return clients[-1]

    yield connect
    for client in clients:
        client.writer.close()


@pytest.fixture
async def attachment(channel: Any) -> str:
    request = pb.AttachRequest(api_version=API_VERSION, volume="docs", mount_id="m")
    return str((await FilesystemStub(channel).Attach(request)).attachment)


@pytest.fixture
async def client(dial: Any, attachment: str) -> Client:
    connected: Client = await dial()
    connected.writer.write(frame(attachment.encode()))
    assert await connected.frame() == b""
    return connected


async def test_the_socket_is_for_its_owner_alone(state: Path, device: FakeDevice) -> None:
    assert stat.S_IMODE((state / "calls.sock").stat().st_mode) == 0o600


async def test_a_call_is_answered_under_its_own_number(client: Client) -> None:
    client.ask(7, lookup=pb.LookupRequest(parent=41, name=b"a"))
    reply = await client.hear()
    assert (reply.id, reply.attr.ino) == (7, 42)


async def test_errors_are_those_of_the_stream(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    client.ask(1, lookup=pb.LookupRequest(parent=1, name=b"missing"))
    error = (await client.hear()).error
    assert (error.errno, error.code, error.message) == (errno.ENOENT, "no-such-name", "There is no such name.")
    client.ask(2, lookup=pb.LookupRequest(parent=1, name=b"defect"))
    assert (await client.hear()).error.errno == errno.EIO
    client.ask(3)
    assert (await client.hear()).error.errno == errno.EINVAL
    client.ask(4, lookup=pb.LookupRequest(parent=1, name=b"a"))
    assert (await client.hear()).attr.ino == 2


async def test_a_stranger_is_cut_off_and_learns_nothing(dial: Any, device: FakeDevice) -> None:
    stranger = await dial()
    stranger.writer.write(frame(b"nobody"))
    stranger.ask(1, lookup=pb.LookupRequest(parent=1, name=b"a"))
    assert await stranger.is_cut_off()


@pytest.mark.parametrize("nonsense", [frame(b"\xff\xff\xff"), (MAX_FRAME + 1).to_bytes(4)], ids=["bytes", "length"])
async def test_nonsense_cuts_off_whoever_sent_it_and_nobody_else(
    dial: Any, client: Client, attachment: str, nonsense: bytes
) -> None:
    other = await dial()
    other.writer.write(frame(attachment.encode()))
    assert await other.frame() == b""
    other.writer.write(nonsense)
    assert await other.is_cut_off()
    client.ask(1, lookup=pb.LookupRequest(parent=1, name=b"a"))
    assert (await client.hear()).id == 1


@pytest.mark.parametrize(
    "waiting",
    [{"fetch": pb.FetchRequest(ino=5, length=9)}, {"lookup": pb.LookupRequest(parent=5, name=b"slow")}],
    ids=["fetch", "lookup"],
)
async def test_a_waiting_call_does_not_hold_up_those_behind_it(
    client: Client, device: FakeDevice, waiting: dict[str, Any]
) -> None:
    client.ask(1, **waiting)
    client.ask(2, lookup=pb.LookupRequest(parent=1, name=b"a"))
    assert (await client.hear()).id == 2
    device.fs.gate.set()
    reply = await client.hear()
    assert (reply.id, reply.HasField("error")) == (1, False)


async def test_calls_that_wait_for_content_keep_no_other_call_waiting(client: Client, device: FakeDevice) -> None:
    for number in range(2 * MAX_IN_FLIGHT):
        client.ask(number, fetch=pb.FetchRequest(ino=5, length=9))
    client.ask(1 << 20, lookup=pb.LookupRequest(parent=1, name=b"a"))
    assert (await client.hear()).id == 1 << 20
    device.fs.gate.set()
    assert {(await client.hear()).id for _ in range(2 * MAX_IN_FLIGHT)} == set(range(2 * MAX_IN_FLIGHT))


async def test_many_calls_in_flight_are_all_answered_once(client: Client, device: FakeDevice) -> None:
    for number in range(3000):
        client.ask(number, lookup=pb.LookupRequest(parent=1, name=b"slow" if number % 2 else b"a"))
    await client.writer.drain()
    heard = [await client.hear()]  # the lane is full of slow ones now, or soon
    device.fs.gate.set()
    heard += [await client.hear() for _ in range(2999)]
    assert sorted(reply.id for reply in heard) == list(range(3000))


async def test_a_client_that_does_not_read_is_not_read_either(client: Client, device: FakeDevice) -> None:
    number = 0
    client.writer.transport.set_write_buffer_limits(high=1)
    with pytest.raises(TimeoutError):
        while number < 20_000:
            client.ask(number, read_dir=pb.ReadDirRequest(ino=1, limit=3000))
            number += 1
            async with asyncio.timeout(1):
                await client.writer.drain()
    for expected in range(number):
        assert (await client.hear()).id == expected


async def test_a_commit_that_was_begun_is_finished_when_its_client_goes(client: Client, device: FakeDevice) -> None:
    client.ask(1, commit=pb.CommitRequest(handle=8, data=b"precious"))
    client.ask(2, fetch=pb.FetchRequest(ino=5, length=9))
    client.ask(3, lookup=pb.LookupRequest(parent=1, name=b"a"))
    await client.hear()
    client.writer.transport.abort()
    await eventually(lambda: device.fs.cut_short == 1)
    assert device.fs.committed == []
    assert device.fs.detached == []
    device.fs.gate.set()
    await eventually(lambda: device.fs.committed == [(8, b"precious")])
    await eventually(lambda: len(device.fs.detached) == 1)


async def test_the_lane_keeps_its_client_attached(client: Client, channel: Any, attachment: str) -> None:
    watch = FilesystemStub(channel).Watch(pb.WatchRequest(), metadata=[("holofs-attachment", attachment)])
    await watch.read()
    watch.cancel()
    with pytest.raises((asyncio.CancelledError, grpc.RpcError)):
        await watch.read()
    client.ask(1, lookup=pb.LookupRequest(parent=1, name=b"a"))
    assert (await client.hear()).attr.ino == 2


async def test_news_come_between_the_answers_and_end_with_their_client(client: Client, device: FakeDevice) -> None:
    client.ask(7, watch=pb.WatchRequest())
    assert (await client.hear()).change == pb.Change(), "the watch is on"
    device.fs.changes.put_nowait(ChangeBatch(reset=True))
    told = await client.hear()
    assert (told.id, told.change.reset) == (7, True)
    client.ask(8, watch=pb.WatchRequest())
    client.ask(9, lookup=pb.LookupRequest(parent=1, name=b"a"))
    assert (await client.hear()).id == 9
    device.fs.changes.put_nowait(ChangeBatch(access=Access.READ_ONLY))
    assert (await client.hear()).change.access == pb.ACCESS_READ_ONLY, "there is one watch on a lane"
    client.writer.transport.abort()
    await eventually(lambda: device.fs.watching == 0)
    await eventually(lambda: len(device.fs.detached) == 1)


async def test_news_say_what_small_files_are_but_only_where_replies_cannot_overtake_them(
    client: Client, device: FakeDevice, channel: Any, attachment: str
) -> None:
    device.fs.news = [await device.fs.open(device.fs.attached[0], Ino(5), 1)]
    client.ask(7, watch=pb.WatchRequest())
    await client.hear()
    device.fs.changes.put_nowait(ChangeBatch())
    (told,) = (await client.hear()).change.files
    assert (told.attr.ino, told.map.version) == (5, b"version")
    stream = FilesystemStub(channel).Watch(pb.WatchRequest(), metadata=[("holofs-attachment", attachment)])
    await stream.read()
    client.writer.transport.abort()
    await eventually(lambda: device.fs.watching == 1)
    device.fs.changes.put_nowait(ChangeBatch(reset=True))
    change = await stream.read()
    assert (change.reset, len(change.files)) == (True, 0)


async def test_the_last_news_is_that_there_will_be_no_more(client: Client, device: FakeDevice) -> None:
    client.ask(7, watch=pb.WatchRequest())
    await client.hear()
    device.fs.ended.set()
    device.fs.changes.put_nowait(ChangeBatch())
    assert [(await client.hear()).WhichOneof("result") for _ in range(2)] == ["change", "done"]


@given(bodies=st.lists(st.binary(max_size=40)), cuts=st.lists(st.integers(1, 30)))
def test_frames_are_the_same_however_the_bytes_are_cut(bodies: list[bytes], cuts: list[int]) -> None:
    data = b"".join(frame(body) for body in bodies)
    parser, found = FrameParser(), []
    while data:
        step = cuts.pop() if cuts else len(data)
        parser.feed(data[:step])
        data = data[step:]
        while (body := parser.pop()) is not None:
            found.append(body)
    assert found == bodies


def test_a_frame_above_the_limit_is_refused_before_it_has_arrived() -> None:
    parser = FrameParser(limit=10)
    parser.feed(b"\0\0\0\x0b")
    with pytest.raises(FrameTooLong):
        parser.pop()


async def test_a_client_that_attaches_anew_is_not_heard_on_its_old_lane(client: Client, channel: Any) -> None:
    """The daemon was stopped meanwhile: what arrives late may be older than what the client has done since."""
    client.ask(1, lookup=pb.LookupRequest(parent=41, name=b"a"))
    assert (await client.hear()).attr.ino == 42
    await FilesystemStub(channel).Attach(pb.AttachRequest(api_version=API_VERSION, volume="docs", mount_id="m"))
    client.ask(2, lookup=pb.LookupRequest(parent=41, name=b"a"))
    assert (await client.hear()).error.errno == errno.ESTALE


async def test_an_attempt_to_attach_that_comes_after_a_later_one_is_refused(channel: Any) -> None:
    def hello(attempt: int, journal: str = "11" * 16) -> pb.AttachRequest:
        return pb.AttachRequest(api_version=API_VERSION, volume="docs", mount_id="m", journal=journal, attempt=attempt)

    stub = FilesystemStub(channel)
    await stub.Attach(hello(1))
    await stub.Attach(hello(3))
    with pytest.raises(grpc.aio.AioRpcError, match="later attempt"):
        await stub.Attach(hello(2))
    await stub.Attach(hello(4))
    await stub.Attach(hello(1, journal="22" * 16))  # another process begins anew
    await stub.Attach(hello(0))  # a program that does not number them


async def test_a_request_without_a_call_is_answered_at_once(client: Client) -> None:
    """A request without a call: so a mount asks whether the daemon lives."""
    client.ask(9)
    reply = await client.hear()
    assert (reply.id, reply.error.errno) == (9, errno.EINVAL)
