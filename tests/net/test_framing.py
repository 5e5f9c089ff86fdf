# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames out of a stream of bytes that may be cut anywhere and be interrupted anywhere."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holofsd.core.errors import ConnectionLost, ProtocolViolation
from holofsd.core.ids import DeviceId
from holofsd.net.framing import FramedStream
from holofsd.net.keep import TaskSet
from holofsd.net.traffic import Traffic, TrafficCounters
from tests.net.virtual import run_virtual

LIMIT = 5000


class Script:
    """A raw stream that plays pieces with pauses, and notes what is written; its first write takes longest."""

    def __init__(self, pieces, *, pause=0.0, broken=False):
        self.closed = False
        self.pieces = list(pieces)
        self.pause = pause
        self.broken = broken
        self.written = bytearray()
        self.writes = 0
        self.reading = False
        self.reset_while_reading = None

    async def read(self, most):
        self.reading = True
        try:
            await asyncio.sleep(self.pause)
        except asyncio.CancelledError:
            await asyncio.sleep(self.pause)  # as the binding, which has to free something first
            raise
        finally:
            self.reading = False
        if not self.pieces:
            if self.broken:
                self.broken = False  # as Iroh: the error comes once, then the stream seems finished
                raise ConnectionLost("reset")
            return b""
        piece = self.pieces.pop(0)
        if len(piece) > most:
            self.pieces.insert(0, piece[most:])
        return piece[:most]

    async def write_all(self, data):
        self.writes += 1
        await asyncio.sleep(self.pause / self.writes**2)
        self.written += data

    async def finish(self):
        await asyncio.sleep(0)

    async def reset(self, code):
        self.broken = True
        self.reset_while_reading = self.reading


def stream_of(script):
    return FramedStream(script, script, LIMIT, TaskSet(), lambda: None, Traffic())


def encoded(frames):
    return b"".join(len(frame).to_bytes(4, "big") + frame for frame in frames)


def cut(data, places):
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[a:b] for a, b in itertools.pairwise(edges)]


async def receive_all(stream):
    frames = []
    while (frame := await stream.receive()) is not None:
        frames.append(frame)
    return frames


frames_of_bytes = st.lists(st.binary(max_size=300), max_size=8)
places = st.lists(st.integers(0, 3000), max_size=12)


def test_bytes_both_ways_are_counted_with_what_frames_add():
    async def talk():
        traffic = Traffic()
        script = Script([b"\0\0\0\2hi"])
        stream = FramedStream(script, script, LIMIT, TaskSet(), lambda: None, traffic)
        await stream.send(b"hello")
        assert await stream.receive() == b"hi"
        return traffic

    assert run_virtual(talk()) == Traffic(sent=9, received=6)


def test_bytes_are_counted_for_each_device_and_strangers_take_no_place_of_a_member():
    counters, member = TrafficCounters(most=3), DeviceId(b"m" * 32)
    counters.of(member).note_sent(1000)
    counters.of(member).note_received(500)
    for number in range(50):
        counters.of(DeviceId(bytes([number]) * 32)).note_received(10)
    told = counters.told(member)
    assert (told.sent, told.received) == (1000, 500)
    assert (counters.whole.sent, counters.whole.received) == (1000, 1000)
    assert (counters.told(DeviceId(b"\0" * 32)).received, counters.told(DeviceId(b"\x31" * 32)).received) == (0, 10)
    assert len(counters._devices) == 3


@given(frames_of_bytes, places)
def test_frames_come_out_as_they_went_in_wherever_the_bytes_are_cut(frames, where):
    script = Script(cut(encoded(frames), where))
    assert run_virtual(receive_all(stream_of(script))) == frames


@given(frames_of_bytes, places, st.lists(st.floats(0, 0.5), min_size=1, max_size=20))
def test_timeouts_anywhere_lose_nothing(frames, where, patience):
    async def impatient():
        stream = stream_of(Script(cut(encoded(frames), where), pause=0.2))
        received = []
        turn = 0
        while True:
            turn += 1
            try:
                async with asyncio.timeout(patience[turn % len(patience)] if turn < 200 else None):
                    frame = await stream.receive()
            except TimeoutError:
                continue
            if frame is None:
                return received
            received.append(frame)

    assert run_virtual(impatient()) == frames


@given(frames_of_bytes.filter(bool), places, st.integers(1, 10**6))
def test_an_end_inside_a_frame_is_a_loss_never_an_end(frames, where, at):
    data = encoded(frames)
    ends, total = {0}, 0
    for frame in frames:
        total += 4 + len(frame)
        ends.add(total)
    at %= len(data)
    stream = stream_of(Script(cut(data[:at], where)))
    if at in ends:
        assert run_virtual(receive_all(stream)) == frames[: sorted(ends).index(at)]
    else:
        with pytest.raises(ConnectionLost):
            run_virtual(receive_all(stream))


def test_a_reset_stays_a_loss_however_often_one_asks():
    async def ask():
        stream = stream_of(Script([encoded([b"a"])], broken=True))
        assert await stream.receive() == b"a"
        for _ in range(3):
            with pytest.raises(ConnectionLost):
                await stream.receive()

    run_virtual(ask())


def test_a_length_alone_reserves_no_memory_and_is_refused_above_the_limit():
    async def ask():
        script = Script([(0xFFFFFFFF).to_bytes(4, "big")])
        with pytest.raises(ProtocolViolation):
            await stream_of(script).receive()
        await asyncio.sleep(0.01)
        assert script.broken, "the other side must be told"

    run_virtual(ask())


def test_a_cancelled_send_is_not_overtaken_by_the_next():
    async def send():
        script = Script([], pause=1.0)
        stream = stream_of(script)
        first = asyncio.create_task(stream.send(b"first"))
        await asyncio.sleep(0.5)
        first.cancel()
        await stream.send(b"second")
        return bytes(script.written)

    assert run_virtual(send()) == encoded([b"first", b"second"])


def test_a_send_cancelled_while_it_waits_its_turn_sends_nothing():
    async def send():
        script = Script([], pause=1.0)
        stream = stream_of(script)
        first = asyncio.create_task(stream.send(b"first"))
        await asyncio.sleep(0.1)
        second = asyncio.create_task(stream.send(b"second"))
        await asyncio.sleep(0.1)
        second.cancel()
        await first
        await stream.finish()
        return bytes(script.written)

    assert run_virtual(send()) == encoded([b"first"])


def test_a_stream_is_reset_only_when_no_read_is_under_way():
    """Iroh's `stop` waits for a pending `read`: the two together would hang."""

    async def play():
        script = Script([b"x"], pause=1.0)
        stream = stream_of(script)
        waiting = asyncio.create_task(stream.receive())
        await asyncio.sleep(0.5)
        stream.abort(1)
        with pytest.raises(ConnectionLost):
            await waiting
        await asyncio.sleep(5)
        return script.reset_while_reading

    assert run_virtual(play()) is False


async def test_a_buffer_full_of_small_frames_leaves_the_loop_to_others():
    stream = stream_of(Script([encoded([b"x"] * 200_000)]))
    turns = 0

    async def work():
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    await stream.receive()  # reads a megabyte; what comes now is in the buffer
    working = asyncio.create_task(work())
    await asyncio.sleep(0)
    for _ in range(150_000):
        await stream.receive()
    working.cancel()
    assert turns > 5
