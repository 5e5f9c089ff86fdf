# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs of this user that call whatever they like: every call is answered, none by a defect, and the next one works.

A whole device answers, on its real sockets; only its network is a fake.
"""

from __future__ import annotations

import asyncio
import tempfile
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import grpc
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import example, given
from hypothesis import strategies as st

from fuzz.effort import effort
from fuzz.messages import Pools, altered, damaged, messages
from holofs_api import API_VERSION
from holofs_api.errors import ATTACHMENT_KEY, detail_of
from holofs_api.framing import frame
from holofs_api.numbers import MAX_FILE_SIZE, MAX_TIME_NS, MIN_TIME_NS
from holofs_api.v1 import control_pb2, filesystem_pb2
from holofs_api.v1 import filesystem_pb2 as pb
from holofs_api.v1.filesystem_pb2_grpc import FilesystemStub
from holofsd.codec.signing import SigningKey
from holofsd.core.ids import ROOT_INO, DeviceId
from holofsd.daemon import state_folder
from holofsd.daemon.composition import running
from holofsd.daemon.config import Config
from holofsd.fs.api import Filesystem
from holofsd.fs.types import AttachRequest, CommitRequest, CreateRequest
from holofsd.net.api import Endpoint, NetConfig
from holofsd.net.fake import FakeNetwork

ANSWER_S: Final = 60.0
ONE_CALL_BYTES: Final = 64 << 20

NAMES = [b"f", b"d", b"s", b"new", b"new2"]
POOLS: Pools = {
    "ino": [1, 2, 3, 4, 5],
    "parent": [1, 3],
    "new_parent": [1, 3],
    "old_parent": [1, 3],
    "name": NAMES,
    "new_name": NAMES,
    "old_name": NAMES,
    "XattrRequest.name": [b"user.x"],
    "SetXattrRequest.name": [b"user.x"],
    "handle": [1, 2, 3],
    "flags": [0, 1, 2],
    "mode": [0o644, 0o755],
    "length": [0, 10, 5000],
    "offset": [0, 10, 70_000],
    "SetAttrRequest.size": [0, 10, 70_000],
    "volume": ["docs"],
    "CreateVolumeRequest.name": ["docs", "other"],
    "path": [b"f", b"d", b"d/g"],
}
CALLS = [
    pb.CallRequest(lookup=pb.LookupRequest(parent=1, name=b"f")),
    pb.CallRequest(get_attr=pb.GetAttrRequest(ino=2)),
    pb.CallRequest(set_attr=pb.SetAttrRequest(ino=2, size=10)),
    pb.CallRequest(read_dir=pb.ReadDirRequest(ino=1, limit=10)),
    pb.CallRequest(read_link=pb.ReadLinkRequest(ino=4)),
    pb.CallRequest(create=pb.CreateRequest(parent=1, name=b"new", handle=1, mode=0o644)),
    pb.CallRequest(make_dir=pb.MakeDirRequest(parent=1, name=b"new", mode=0o755)),
    pb.CallRequest(symlink=pb.SymlinkRequest(parent=1, name=b"new", target=b"t")),
    pb.CallRequest(link=pb.LinkRequest(ino=2, parent=3, name=b"new")),
    pb.CallRequest(unlink=pb.UnlinkRequest(parent=1, name=b"f")),
    pb.CallRequest(remove_dir=pb.UnlinkRequest(parent=1, name=b"d")),
    pb.CallRequest(rename=pb.RenameRequest()),
    pb.CallRequest(open=pb.OpenRequest(ino=2, handle=2)),
    pb.CallRequest(stage=pb.StageRequest(handle=1)),
    pb.CallRequest(commit=pb.CommitRequest(handle=1, data=b"data")),
    pb.CallRequest(fsync=pb.FsyncRequest(handle=1, ino=2)),
    pb.CallRequest(release=pb.ReleaseRequest(handle=1)),
    pb.CallRequest(fetch=pb.FetchRequest(ino=2, length=10)),
    pb.CallRequest(read=pb.ReadRequest(handle=1, length=10)),
    pb.CallRequest(write=pb.WriteRequest(handle=1, data=b"data")),
    pb.CallRequest(get_xattr=pb.XattrRequest(ino=2, name=b"user.x")),
    pb.CallRequest(set_xattr=pb.SetXattrRequest(ino=2, name=b"user.x", value=b"v")),
    pb.CallRequest(list_xattr=pb.XattrRequest(ino=2)),
    pb.CallRequest(remove_xattr=pb.XattrRequest(ino=2, name=b"user.x")),
    pb.CallRequest(stat_fs=pb.StatFsRequest()),
]
# Not called: the end of the daemon, and mounting, which would mount at any path there is.
NOT_CALLED = {"Shutdown", "Mount", "Unmount", "RestoreMounts"}


class Client:
    """A program attached to the volume, on the fast lane."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._number = 0
        self._watches: set[int] = set()
        """Numbers under which news may come at any time."""

    async def call(self, request: pb.CallRequest) -> pb.CallReply:
        """The reply; an empty one to a watch, which is answered when there is news."""
        self._number += 1
        request.id = self._number
        self._writer.write(frame(request.SerializeToString()))
        if request.WhichOneof("call") == "watch":
            self._watches.add(self._number)
            return pb.CallReply(id=self._number)
        while (reply := pb.CallReply.FromString(await self.frame())).id in self._watches:
            pass
        assert reply.id == self._number
        return reply

    async def raw(self, body: bytes) -> None:
        self._writer.write(frame(body))
        await self._writer.drain()

    async def frame(self) -> bytes:
        async with asyncio.timeout(ANSWER_S):
            return await self._reader.readexactly(int.from_bytes(await self._reader.readexactly(4)))

    def close(self) -> None:
        self._writer.close()


class Scene:
    """A device with a volume: a file (inode 2), a directory (3), a symlink (4), a file in the directory (5)."""

    def __init__(self, state: Path, channel: Any, attachment: str) -> None:
        self.state, self.channel, self.attachment = state, channel, attachment
        self.honest: Client

    @property
    def metadata(self) -> list[tuple[str, str]]:
        return [(ATTACHMENT_KEY, self.attachment)]

    async def client(self) -> Client:
        client = Client(*await asyncio.open_unix_connection(str(self.state / "calls.sock")))
        await client.raw(self.attachment.encode())
        assert await client.frame() == b""
        return client

    async def still_works(self) -> None:
        reply = await self.honest.call(pb.CallRequest(lookup=pb.LookupRequest(parent=1, name=b"no such name")))
        # One of the requests may have been to leave the volume.
        assert reply.error.code in ("no-such-name", "stale-handle")


async def furnish(fs: Filesystem) -> None:
    """Make the files before any mount is there, which would lease inode numbers: so these have the first ones."""
    att = fs.attach(AttachRequest("fuzz", "furnisher", "/", 1, False, ()))
    await fs.create(att, CreateRequest(ROOT_INO, b"f", 0o644, truncate=True, handle=91))
    await fs.commit(att, CommitRequest(91, data=b"content", seal=True, release=True))
    folder = await fs.make_dir(att, ROOT_INO, b"d", 0o755)
    await fs.symlink(att, ROOT_INO, b"s", b"f")
    last = await fs.make_dir(att, folder.ino, b"g", 0o755)
    assert (folder.ino, last.ino) == (3, 5)
    fs.detach(att)


@asynccontextmanager
async def scene() -> AsyncIterator[Scene]:
    network = FakeNetwork()

    async def bind(seed: bytes, _config: NetConfig) -> Endpoint:
        return network.endpoint(DeviceId(SigningKey(seed).public))

    # Short, because a Unix socket's path has 107 bytes.
    with tempfile.TemporaryDirectory(prefix="hfs-fuzz-") as folder:
        state = Path(folder) / "s"
        state_folder.prepare(state)
        async with (
            running(Config(state, "fuzzed"), asyncio.Event(), bind=bind) as device,
            grpc.aio.insecure_channel(f"unix:{state}/holofsd.sock") as channel,
        ):
            await device.create_volume("docs")
            await furnish(await device.filesystem("docs"))
            request = pb.AttachRequest(api_version=API_VERSION, volume="docs", mount_id="m")
            reply = await FilesystemStub(channel).Attach(request)
            made = Scene(state, channel, reply.attachment)
            # An attachment ends with its last connection: this one stays.
            made.honest = await made.client()
            yield made
            made.honest.close()


async def within_memory(work: Callable[[], Awaitable[Any]]) -> Any:
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    answer = await work()
    assert tracemalloc.get_traced_memory()[1] - before < ONE_CALL_BYTES
    return answer


NO_INODE = (1 << 64) - 1


@effort(12)
@example(
    [
        pb.CallRequest(id=1, fsync=pb.FsyncRequest(ino=NO_INODE)),
        pb.CallRequest(id=2, get_xattr=pb.XattrRequest(ino=NO_INODE, name=b"user.x")),
        pb.CallRequest(id=3, open=pb.OpenRequest(ino=NO_INODE, handle=1)),
    ]
)
@given(st.lists(altered(CALLS, POOLS), min_size=1, max_size=30))
async def test_any_calls_of_a_program_are_answered(calls: list[pb.CallRequest]) -> None:
    async with scene() as place:
        client = await place.client()
        tracemalloc.start()
        try:
            for call in calls:
                reply = await within_memory(lambda call=call: client.call(call))  # type: ignore[misc]
                assert reply.error.code != "internal", f"{call} met a defect"
        finally:
            tracemalloc.stop()
        client.close()
        await place.still_works()


@effort(12)
@given(st.lists(damaged(altered(CALLS, POOLS).map(lambda call: bytes(call.SerializeToString()))), max_size=5))
async def test_bytes_on_the_fast_lane_harm_nobody_else(bodies: list[bytes]) -> None:
    async with scene() as place:
        rude = await place.client()
        for body in bodies:
            try:
                await rude.raw(body)
                reply = pb.CallReply.FromString(await rude.frame())
                assert reply.error.code != "internal"
            except (ConnectionError, asyncio.IncompleteReadError):
                rude.close()
                rude = await place.client()
        rude.close()
        await place.still_works()


def _methods(module: Any, service: str) -> list[tuple[str, type[Message], type[Message], bool]]:
    found = module.DESCRIPTOR.services_by_name[service]
    return [
        (
            f"/{found.full_name}/{method.name}",
            GetMessageClass(method.input_type),
            GetMessageClass(method.output_type),
            method.server_streaming,
        )
        for method in found.methods
        if method.name not in NOT_CALLED and not method.client_streaming
    ]


METHODS = [*_methods(control_pb2, "Control"), *_methods(filesystem_pb2, "Filesystem")]
ANY_REQUEST = st.sampled_from(METHODS).flatmap(
    lambda method: st.tuples(st.just(method), messages(method[1], POOLS, most=2))
)


@effort(12)
@given(st.lists(ANY_REQUEST, min_size=1, max_size=12))
async def test_any_request_over_grpc_is_answered(requests: list[tuple[Any, Message]]) -> None:
    async with scene() as place:
        for (path, _, reply, streams), request in requests:
            refused = await _ask(place, path, reply, streams, request)
            detail = detail_of(refused) if refused is not None else None
            assert detail is None or detail.code != "internal", f"{path} met a defect with {request}"
        await place.still_works()


async def _ask(place: Scene, path: str, reply: Any, streams: bool, request: Message) -> grpc.aio.AioRpcError | None:
    codec = {"request_serializer": type(request).SerializeToString, "response_deserializer": reply.FromString}
    try:
        if not streams:
            await place.channel.unary_unary(path, **codec)(request, metadata=place.metadata, timeout=ANSWER_S)
            return None
        # Some streams never end by themselves (`Watch`, `Wait`): two seconds of them are enough.
        call = place.channel.unary_stream(path, **codec)(request, metadata=place.metadata, timeout=2)
        async for _ in call:
            pass
    except grpc.aio.AioRpcError as error:
        waited = error.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        assert streams or not waited, f"{path} does not answer"
        return None if waited else error
    return None


def _at_their_ends(call: pb.CallRequest) -> Iterator[pb.CallRequest]:
    """The call with each of its numbers in turn at an end of what its field, or the index, can hold."""
    field = call.WhichOneof("call")
    assert field is not None
    for described in getattr(call, field).DESCRIPTOR.fields:
        for value in ENDS.get(described.type, ()):
            changed = pb.CallRequest()
            changed.CopyFrom(call)
            setattr(getattr(changed, field), described.name, value)
            yield changed


# A file of just the largest size there is would be hashed to its end.
ENDS: Final = {
    FieldDescriptor.TYPE_UINT64: (0, MAX_FILE_SIZE + 1, 2**62 - 1, 2**62, 2**63 - 1, 2**63, 2**64 - 1),
    FieldDescriptor.TYPE_INT64: (-(2**63), -1, 0, MAX_TIME_NS),
    FieldDescriptor.TYPE_UINT32: (0, 2**31 - 1, 2**31, 2**32 - 1),
}
OPENED: Final = (
    pb.CallRequest(open=pb.OpenRequest(ino=2, handle=1, write=True)),
    pb.CallRequest(stage=pb.StageRequest(handle=1)),
)


async def test_numbers_at_the_ends_of_their_fields_are_answered() -> None:
    times = pb.CallRequest(set_attr=pb.SetAttrRequest(ino=2, mtime_ns=1))
    lookup = pb.CallRequest(lookup=pb.LookupRequest(parent=1, name=b"f"))
    async with scene() as place:
        client = await place.client()
        # What removes the file comes last.
        for original in sorted((*CALLS, times), key=lambda call: call.HasField("unlink")):
            for call in _at_their_ends(original):
                for before in OPENED:
                    await client.call(before)
                reply = await client.call(call)
                assert reply.error.code != "internal", f"{call} met a defect"
                await client.call(pb.CallRequest(release=pb.ReleaseRequest(handle=1)))
                seen = await client.call(lookup)
                assert seen.HasField("attr") or original.HasField("unlink"), f"{call} took the file away"
                assert MIN_TIME_NS <= seen.attr.mtime_ns <= MAX_TIME_NS
                assert seen.attr.size <= MAX_FILE_SIZE
        client.close()
        await place.still_works()


async def test_numbers_at_the_ends_of_their_fields_are_answered_over_grpc() -> None:
    async with scene() as place:
        for path, request_class, reply, streams in METHODS:
            for described in request_class.DESCRIPTOR.fields:
                for value in ENDS.get(described.type, ()):
                    request = request_class()
                    for known in request_class.DESCRIPTOR.fields:
                        if known.name == "volume" and known.type == FieldDescriptor.TYPE_STRING:
                            setattr(request, known.name, "docs")
                    setattr(request, described.name, value)
                    refused = await _ask(place, path, reply, streams, request)
                    detail = detail_of(refused) if refused is not None else None
                    assert detail is None or detail.code != "internal", f"{path} met a defect with {request}"
        await place.still_works()
