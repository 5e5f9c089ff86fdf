# SPDX-License-Identifier: GPL-3.0-or-later
"""Every decoder of bytes from outside, as a function of bytes that returns, whatever they are.

A target reads, and does with the result what the program does next; only the errors that the decoder is documented to
raise are taken. Anything else is a defect. They are replayed by `test_decoders.py` and fuzzed with coverage by
`scripts/soak decoders`.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from blake3 import blake3
from google.protobuf.message import DecodeError

from fuzz import examples
from holofs_api.framing import MAX_GREETING, FrameParser, FrameTooLong
from holofs_api.v1 import filesystem_pb2 as calls
from holofs_peer.v1 import peer_pb2 as pb
from holofsd.codec import wire
from holofsd.codec.checks import parse
from holofsd.codec.letting_go import decode_dropped, decode_folded, encode_dropped, encode_folded
from holofsd.codec.records import decode_device, decode_state, decode_volume, encode_device, encode_state, encode_volume
from holofsd.codec.recovery import decode_recovery, encode_recovery
from holofsd.codec.ticket import PREFIX, decode_ticket, encode_ticket
from holofsd.core import chunk_list, edit, members, runs
from holofsd.core import credentials as sets
from holofsd.core.context import clip_state
from holofsd.core.document import Credentials
from holofsd.core.errors import (
    BadArgument,
    HoloError,
    ProtocolViolation,
    RecoveryInvalid,
    Refused,
    TicketInvalid,
)
from holofsd.core.git_index import MOST_BYTES, tracked_paths
from holofsd.core.ids import AuthorId, VolumeId
from holofsd.core.join import join
from holofsd.core.node import is_alive, live_versions, placements
from holofsd.core.project import base_of_conflict_name, parse_token
from holofsd.core.shrinking import shrunk
from holofsd.fs import decoding
from holofsd.net import addresses
from holofsd.net.fake import FakeNetwork
from holofsd.net.pulse import Pulse
from holofsd.sync import chunk_frames, frames
from support.states import shown_version

VOLUME: Final = VolumeId(examples.A)
Reads = Callable[[bytes], None]


@dataclass(frozen=True)
class Target:
    name: str
    read: Reads
    seeds: tuple[bytes, ...]
    """Valid ones, to begin with."""


TARGETS: dict[str, Target] = {}


def target(*seeds: Any) -> Callable[[Reads], Reads]:
    def register(read: Reads) -> Reads:
        found = [seed if isinstance(seed, bytes) else seed.SerializeToString() for seed in seeds]
        TARGETS[read.__name__] = Target(read.__name__, read, tuple(found))
        return read

    return register


# ---- payloads of records
@target(*examples.NODES)
def node_record(data: bytes) -> None:
    try:
        state = decode_state(data)
    except Refused:
        return
    again = decode_state(encode_state(state))
    assert again == state
    assert join(again, again) == again
    placements(again), live_versions(again), shown_version(again), is_alive(again)
    for version in again.versions.values():
        # What it says of others is cut down to what they said themselves, and can be stored then.
        clipped, _waits_for = clip_state(again, version.dot.author, {version.dot.author: 1})
        assert decode_state(encode_state(clipped)) == clipped
    gone = edit.removed(again)
    assert not is_alive(gone)
    assert not is_alive(join(again, decode_state(encode_state(shrunk(gone)))))
    for placement in placements(again, needed=True):
        base_of_conflict_name(placement.place.name)


@target(b"".join(len(m.SerializeToString()).to_bytes(2, "big") + m.SerializeToString() for m in examples.NODES[:2]))
def two_node_records(data: bytes) -> None:
    """Records of one node: they join in any order."""
    length = int.from_bytes(data[:2], "big")
    states = []
    for part in (data[2 : 2 + length], data[4 + length :]):
        message = pb.NodeRecord()
        with contextlib.suppress(Refused):
            parse(message, part, 1 << 20, "record")
            message.id, message.kind, message.created_ns = examples.NODE, pb.NODE_KIND_FILE, 0
            states.append(decode_state(message.SerializeToString()))
    if len(states) == 2:
        one, other = states
        joined = join(one, other)
        assert joined == join(other, one)
        assert join(joined, one) == joined
        assert decode_state(encode_state(joined)) == joined


@target(examples.DEVICE)
def device_record(data: bytes) -> None:
    with contextlib.suppress(Refused):
        info = decode_device(data)
        assert decode_device(encode_device(info)) == info
        addresses.usable(info.addresses)


@target(examples.VOLUME)
def volume_record(data: bytes) -> None:
    with contextlib.suppress(Refused):
        info = decode_volume(data)
        assert decode_volume(encode_volume(info)) == info


@target(examples.DROPPED)
def dropped_record(data: bytes) -> None:
    with contextlib.suppress(Refused):
        dropped = decode_dropped(data)
        encoded = encode_dropped(dropped)
        assert encode_dropped(decode_dropped(encoded)) == encoded


@target(examples.FOLDED)
def folded_record(data: bytes) -> None:
    with contextlib.suppress(Refused):
        heads = decode_folded(data)
        encoded = encode_folded(heads)
        assert encode_folded(decode_folded(encoded)) == encoded


# ---- what surrounds them
@target(examples.ENVELOPE)
def envelope(data: bytes) -> None:
    message = pb.Envelope()
    with contextlib.suppress(Refused):
        parse(message, data, len(data), "envelope")
        assert wire.from_envelope(wire.to_envelope(found := wire.from_envelope(message))) == found


@target(examples.MARK)
def mark(data: bytes) -> None:
    with contextlib.suppress(Refused):
        found = wire.decode_mark(data)
        assert wire.decode_mark(wire.encode_mark(found)) == found


@target(examples.CREDENTIALS)
def credentials(data: bytes) -> None:
    try:
        found = wire.decode_credentials(data)
    except Refused:
        return
    assert wire.decode_credentials(wire.encode_credentials(found)) == found
    _resolve(found)


def _resolve(found: Credentials) -> None:
    """Resolve: in any order the same, and stored and read again too."""
    merged = sets.merge_credentials(found, found)
    backwards = Credentials(found.grants[::-1], found.removals[::-1], found.certificates[::-1])
    assert sets.merge_credentials(backwards, merged) == merged
    assert members.resolve(VOLUME, merged) == members.resolve(VOLUME, sets.relevant(VOLUME, merged))
    for grant in merged.grants[:4]:
        sets.proof_of(VOLUME, merged, (), (grant.device,), 256, 1 << 17)


READERS: dict[str, Callable[[Any], object]] = {
    "hello": lambda hello: wire.from_credentials(hello.credentials),
    "have": lambda have: (frames.read_heads(have), frames.read_folded(have)),
    "records": frames.read_records,
    "marks": frames.read_marks,
    "credentials": frames.read_credentials,
    "get_list": chunk_frames.read_get_list,
    "get_pieces": chunk_frames.read_get_pieces,
    "ask": chunk_frames.read_ask,
}
ANSWERS: dict[str, Callable[[pb.Frame], object]] = {
    "list": lambda answer: chunk_frames.read_list_part(answer, 1),
    "piece": lambda answer: chunk_frames.read_piece(answer, 1),
    "has": lambda answer: list(chunk_frames.read_has(answer, 1, 20).parts(0, 20)),
}


@target(*examples.FRAMES)
def frame(data: bytes) -> None:
    with contextlib.suppress(ProtocolViolation, Refused):
        found = frames.parse(data)
        kind = found.WhichOneof("frame")
        if kind in READERS:
            READERS[kind](getattr(found, kind))
        elif kind in ANSWERS:
            ANSWERS[kind](found)


@target(pb.Redeem(protocol=1, volume=examples.A, secret=b"s" * 16, device_name="a"))
def redeem_question(data: bytes) -> None:
    message = pb.Redeem()
    with contextlib.suppress(DecodeError, ValueError):
        message.ParseFromString(data)
        assert isinstance(message.device_name, str)


@target(pb.Redeemed(credentials=examples.CREDENTIALS, volume_name="docs"), pb.Redeemed(refused="used"))
def redeem_answer(data: bytes) -> None:
    message = pb.Redeemed()
    with contextlib.suppress(DecodeError, ValueError, Refused):
        message.ParseFromString(data)
        if message.WhichOneof("answer") == "credentials":
            _resolve(wire.from_credentials(message.credentials))


# ---- bytes of streams
@target(b"\0\0\0\3abc\0\0\0\0", b"\0\0\0\2ab\xff\xff\xff\xff")
def framed_stream(data: bytes) -> None:
    """The first byte says how the rest is cut into pieces."""
    _loop().run_until_complete(_read_stream(data))


@cache
def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


async def _read_stream(data: bytes) -> None:
    network = FakeNetwork(seed=0, discovery=True)
    one, other = (network.endpoint(device, [b"x"]) for device in (examples.A, examples.B))  # type: ignore[arg-type]
    connection = await one.connect(other.device, [], b"x")
    there = await other.accept()
    stream = await connection.open_stream()
    cut, rest = (data[0] % 7 + 1 if data else 1), data[1:]
    writing = asyncio.create_task(_write(stream, [rest[at : at + cut] for at in range(0, len(rest), cut)]))
    received = 0
    with contextlib.suppress(HoloError):
        found = await there.accept_stream()
        while (part := await found.receive(limit=1 << 16)) is not None:
            received += len(part) + 4
    assert received <= len(rest)
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)
    await one.close()
    await other.close()


async def _write(stream: Any, pieces: list[bytes]) -> None:
    with contextlib.suppress(HoloError):
        for piece in [*pieces, None]:
            await (stream._raw.write_all(piece) if piece is not None else stream._raw.finish())


@target(b"\1" + bytes(8), b"\2" + bytes(8), b"\0")
def datagram(data: bytes) -> None:
    async def hear() -> None:
        sent: list[bytes] = []
        pulse = Pulse(sent.append, lambda: None, 5.0, 15.0)
        pulse.received(data)
        assert sum(map(len, sent)) <= 9, "an answer is no longer than a question may be"

    _loop().run_until_complete(hear())


@target(b"\0\0\0\5hello" + b"\0\0\0\0", b"\0\0\1\1" + bytes(257))
def fast_lane(data: bytes) -> None:
    parser = FrameParser(MAX_GREETING)
    found = 0
    with contextlib.suppress(FrameTooLong):
        for start in range(0, len(data), 50):
            parser.feed(data[start : start + 50])
            while (body := parser.pop()) is not None:
                found += len(body)
    assert found <= len(data)


@target(
    calls.CallRequest(set_attr=calls.SetAttrRequest(ino=2, size=10)),
    calls.CallRequest(lookup=calls.LookupRequest(parent=1, name=b"f")),
)
def call(data: bytes) -> None:
    """Convert what programs of this user send."""
    request = calls.CallRequest()
    with contextlib.suppress(DecodeError, ValueError, HoloError):
        request.ParseFromString(data)
        which = request.WhichOneof("call")
        if which == "set_attr":
            decoding.set_attr(request.set_attr)
            decoding.ino_of(request.set_attr.ino)


# ---- texts, and content that the program looks into
@target(examples.INVITE)
def ticket(data: bytes) -> None:
    """The message inside of a ticket, under a checksum that is right or that an attacker made right."""
    checksum = blake3(b"holofs-ticket-1" + data).digest(4)
    for text in (PREFIX + base64.b32encode(data + checksum).decode().rstrip("=").lower(), data.decode("latin-1")):
        with contextlib.suppress(TicketInvalid):
            invite = decode_ticket(text)
            assert decode_ticket(encode_ticket(invite)) == invite
            addresses.usable(invite.addresses)


@target(encode_recovery(bytes(32)).encode())
def recovery_code(data: bytes) -> None:
    with contextlib.suppress(RecoveryInvalid):
        assert len(decode_recovery(data.decode("utf-8", "replace"))) == 32


@target(b"192.0.2.1:1", b"[2001:db8::1]:65535", b"https://relay.example./")
def address(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    found = addresses.parse(text)
    if found is not None and found[1]:
        assert addresses.parse(addresses.render(*found)) == found
    for usable in addresses.usable([text, "192.0.2.1:1"]):
        assert addresses.parse(usable) is not None


@target(b"a" * 32 + bytes(7) + b"\1")
def version_token(data: bytes) -> None:
    with contextlib.suppress(BadArgument):
        assert isinstance(parse_token(data).author, bytes)


@target(b"DIRC" + b"\0\0\0\2" + b"\0\0\0\1" + bytes(60) + b"\0\1a" + bytes(8), b"DIRC\0\0\0\4\0\0\0\1" + bytes(100))
def git_index(data: bytes) -> None:
    assert sum(map(len, tracked_paths(data))) <= MOST_BYTES


@target(*examples.CHUNK_LISTS)
def chunks(data: bytes) -> None:
    with contextlib.suppress(Refused):
        assert chunk_list.read_header(data).length < 1 << 26
    with contextlib.suppress(Refused):
        found = chunk_list.decode(data)
        parts = [found.chunk(index) for index in range(min(found.count, 100))]
        assert all(found.at(part.offset) == index for index, part in enumerate(parts))
        assert len(found.covering(0, found.size)) == found.count
        every = ((found.chunk(index).hash, found.chunk(index).size) for index in range(found.count))
        assert chunk_list.build(found.size, every) == found
        for layout in (runs.of_zeros(found), runs.in_one_segment(found, 1)):
            assert runs.decode_layout(runs.encode_layout(layout), found.count) == layout


@target(b"name (conflict mal 2030-03-17 17-46-47 69655488).txt", b"name")
def conflict_name(data: bytes) -> None:
    base = base_of_conflict_name(data)
    assert base is None or len(base) <= len(data)


AUTHOR: Final = AuthorId(examples.A)
