# SPDX-License-Identifier: GPL-3.0-or-later
"""Contract of every network: one suite, run on the fake and on Iroh."""

from __future__ import annotations

import asyncio

import pytest

from holofsd.core.errors import ConnectionLost, ProtocolViolation, Unreachable
from holofsd.net.api import JOIN_ALPN, SESSION_ALPN, CloseCode, Connection, Stream

SIZES = (0, 1, 3, 4, 5, 1000, 65_531, 65_536, 65_537, 1 << 20)


def pattern(size: int, salt: int = 0) -> bytes:
    """Bytes in which a lost, doubled or moved piece shows."""
    return bytes((i * 31 + i // 256 + salt) % 251 for i in range(min(size, 4096))) * (size // 4096 + 1)


def frame_of(size: int) -> bytes:
    return pattern(size)[:size]


async def stream_between(mine: Connection, theirs: Connection) -> tuple[Stream, Stream]:
    here = await mine.open_stream()
    await here.send(b"hello")
    there = await theirs.accept_stream()
    assert await there.receive() == b"hello"
    return here, there


async def test_both_sides_know_each_other(world):
    a, b = await world.endpoint(), await world.endpoint()
    mine, theirs = await asyncio.gather(a.connect(b.device, b.addresses(), SESSION_ALPN), b.accept())
    assert (mine.peer, theirs.peer) == (b.device, a.device)
    assert (mine.dialled, theirs.dialled) == (True, False)
    assert mine.alpn == theirs.alpn == SESSION_ALPN
    assert mine.remote_address in b.addresses()
    assert not mine.closed
    assert not theirs.closed


async def test_the_acceptor_sees_which_protocol_was_asked_for(world):
    a, b = await world.endpoint(), await world.endpoint()
    _, theirs = await asyncio.gather(a.connect(b.device, b.addresses(), JOIN_ALPN), b.accept())
    assert theirs.alpn == JOIN_ALPN


async def test_a_protocol_nobody_speaks_is_unreachable(world):
    a, b = await world.endpoint(), await world.endpoint()
    with pytest.raises(Unreachable):
        await a.connect(b.device, b.addresses(), b"other/1")


async def test_frames_of_all_sizes_arrive_whole_and_in_order(world):
    here, there = await stream_between(*await world.pair())

    async def send_all():
        for size in SIZES:
            await here.send(frame_of(size))
        await here.finish()

    sending = asyncio.create_task(send_all())
    received = [await there.receive() for _ in SIZES]
    assert received == [frame_of(size) for size in SIZES]
    assert await there.receive() is None
    assert await there.receive() is None
    await sending


async def test_a_finished_direction_leaves_the_other_open(world):
    here, there = await stream_between(*await world.pair())
    await here.finish()
    assert await there.receive() is None
    await there.send(b"answer")
    assert await here.receive() == b"answer"
    with pytest.raises(ConnectionLost):
        await here.send(b"too late")


async def test_finishing_twice_is_once(world):
    here, there = await stream_between(*await world.pair())
    await here.finish()
    await here.finish()
    assert await there.receive() is None


async def test_a_receive_that_timed_out_loses_nothing(world):
    here, there = await stream_between(*await world.pair())
    received = []

    async def send_all():
        for number in range(60):
            await here.send(frame_of(number * 997))
        await here.finish()

    sending = asyncio.create_task(send_all())
    timeouts = 0
    while True:
        try:
            async with asyncio.timeout(0.0002):
                frame = await there.receive()
        except TimeoutError:
            timeouts += 1
            continue
        if frame is None:
            break
        received.append(frame)
    await sending
    assert timeouts > 0
    assert received == [frame_of(number * 997) for number in range(60)]


async def test_a_cancelled_send_sends_its_whole_frame_or_nothing(world):
    here, there = await stream_between(*await world.pair())
    big = frame_of(1 << 20)
    sends = [asyncio.create_task(here.send(bytes([n]) + big)) for n in range(5)]
    await asyncio.sleep(0)
    await asyncio.wait({sends[0]}, timeout=0.2)
    for task in sends:
        task.cancel()
    await asyncio.wait(sends)
    sure = [n for n, task in enumerate(sends) if not task.cancelled()]
    last = asyncio.create_task(here.send(b"last"))
    received = []
    while (frame := await there.receive()) != b"last":
        assert frame[1:] == big
        received.append(frame[0])
    await last
    assert received == sorted(set(received))
    assert set(sure) <= set(received)
    assert len(received) < 5, "all were sent before the cancel: nothing was tested"


async def test_concurrent_sends_do_not_mix(world):
    here, there = await stream_between(*await world.pair())
    frames = [frame_of(n * 7001) for n in range(30)]
    sending = asyncio.gather(*(here.send(frame) for frame in frames))
    assert [await there.receive() for _ in frames] == frames
    await sending


async def test_a_frame_above_the_limit_is_refused_by_its_sender(world):
    here, there = await stream_between(*await world.pair())
    with pytest.raises(ProtocolViolation):
        await here.send(bytes(world.config.max_frame + 1))
    greatest = frame_of(world.config.max_frame)
    _, received = await asyncio.gather(here.send(greatest), there.receive())
    assert received == greatest


async def test_a_frame_above_the_limit_is_refused_by_its_receiver(world):
    a = await world.endpoint()
    world.configure(max_frame=1000)
    b = await world.endpoint()
    mine, theirs = await asyncio.gather(a.connect(b.device, b.addresses(), SESSION_ALPN), b.accept())
    # Both worlds let the sides differ: what a peer believes its limit to be is its own affair.
    here, there = await stream_between(mine, theirs)
    await here.send(bytes(2000))
    with pytest.raises(ProtocolViolation):
        await there.receive()
    with pytest.raises(ConnectionLost):
        await there.receive()
    with pytest.raises(ConnectionLost):
        await here.receive()
    assert not mine.closed


async def test_a_receiver_can_lower_the_limit_for_one_frame(world):
    here, there = await stream_between(*await world.pair())
    await here.send(bytes(100))
    await here.send(bytes(101))
    assert await there.receive(limit=100) == bytes(100)
    with pytest.raises(ProtocolViolation):
        await there.receive(limit=100)


async def test_an_aborted_stream_is_not_a_finished_one(world):
    mine, theirs = await world.pair()
    here, there = await stream_between(mine, theirs)
    waiting = asyncio.create_task(there.receive())
    await asyncio.sleep(0)
    here.abort(CloseCode.INTERNAL)
    here.abort(CloseCode.INTERNAL)
    with pytest.raises(ConnectionLost):
        await waiting
    with pytest.raises(ConnectionLost):
        await there.receive()
    with pytest.raises(ConnectionLost):
        await here.send(b"x")
    with pytest.raises(ConnectionLost):
        await here.receive()
    await stream_between(mine, theirs)


async def test_abort_frees_our_own_receiver(world):
    here, _ = await stream_between(*await world.pair())
    waiting = asyncio.create_task(here.receive())
    await asyncio.sleep(0.01)
    here.abort(CloseCode.NORMAL)
    with pytest.raises(ConnectionLost):
        await waiting


async def test_abort_frees_a_sender_that_waits_for_its_reader(world):
    here, there = await stream_between(*await world.pair())

    async def send_forever():
        while True:
            await here.send(bytes(500_000))

    sending = asyncio.create_task(send_forever())
    await asyncio.wait({sending}, timeout=0.3)
    assert not sending.done(), "a sender must wait for its reader"
    here.abort(CloseCode.NORMAL)
    with pytest.raises(ConnectionLost):
        await sending
    with pytest.raises(ConnectionLost):
        while True:
            await there.receive()


async def test_the_reader_can_abort_what_a_peer_sends(world):
    here, there = await stream_between(*await world.pair())

    async def send_forever():
        while True:
            await here.send(bytes(500_000))

    sending = asyncio.create_task(send_forever())
    assert await there.receive() == bytes(500_000)
    there.abort(CloseCode.REFUSED)
    with pytest.raises(ConnectionLost):
        await sending


async def test_one_stream_does_not_wait_for_another(world):
    mine, theirs = await world.pair()
    blocked, _unread = await stream_between(mine, theirs)
    sending = asyncio.create_task(blocked.send(bytes(world.config.max_frame)))
    await asyncio.wait({sending}, timeout=0.1)
    here, there = await stream_between(mine, theirs)
    await here.send(b"overtakes")
    assert await there.receive() == b"overtakes"
    blocked.abort(CloseCode.NORMAL)
    await asyncio.wait({sending})


async def test_streams_open_in_both_directions(world):
    mine, theirs = await world.pair()
    await stream_between(mine, theirs)
    await stream_between(theirs, mine)


async def test_an_accept_that_timed_out_loses_no_stream(world):
    mine, theirs = await world.pair()
    for number in range(20):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await theirs.accept_stream()
        stream = await mine.open_stream()
        await stream.send(bytes([number]))
        accepted = await theirs.accept_stream()
        assert await accepted.receive() == bytes([number])


async def test_close_tells_code_and_reason_to_the_other_side(world):
    mine, theirs = await world.pair()
    here, there = await stream_between(mine, theirs)
    waiting = [
        asyncio.create_task(there.receive()),
        asyncio.create_task(theirs.accept_stream()),
        asyncio.create_task(here.receive()),
        asyncio.create_task(mine.accept_stream()),
    ]
    await asyncio.sleep(0.01)
    mine.close(CloseCode.REFUSED, "not (code 9) for you")
    mine.close(CloseCode.NORMAL)
    end = await theirs.wait_closed()
    assert (end.code, end.reason, end.by_peer) == (CloseCode.REFUSED, "not (code 9) for you", True)
    own = await mine.wait_closed()
    assert (own.code, own.by_peer) == (CloseCode.REFUSED, False)
    assert mine.closed
    assert theirs.closed
    for task in waiting:
        with pytest.raises(ConnectionLost):
            await task
    for side in (mine, theirs):
        with pytest.raises(ConnectionLost):
            await side.open_stream()
        with pytest.raises(ConnectionLost):
            await side.accept_stream()
        assert await side.ping(1.0) is None
    with pytest.raises(ConnectionLost):
        await here.send(b"x")


async def test_close_without_a_reason_keeps_its_code(world):
    mine, theirs = await world.pair()
    mine.close(CloseCode.NORMAL)
    end = await theirs.wait_closed()
    assert (end.code, end.by_peer) == (CloseCode.NORMAL, True)


async def test_closing_an_endpoint_says_goodbye_on_every_connection(world):
    a, b = await world.endpoint(), await world.endpoint()
    pairs = [await asyncio.gather(a.connect(b.device, b.addresses(), SESSION_ALPN), b.accept()) for _ in range(3)]
    accepting = asyncio.create_task(b.accept())
    await b.close()
    await b.close()
    for mine, theirs in pairs:
        assert (await mine.wait_closed()).code == CloseCode.GOING_AWAY
        assert theirs.closed
    with pytest.raises(ConnectionLost):
        await accepting
    with pytest.raises(ConnectionLost):
        await b.accept()
    with pytest.raises(Unreachable):
        await b.connect(a.device, a.addresses(), SESSION_ALPN)


async def test_a_round_trip_is_measured_if_it_is_known(world):
    mine, theirs = await world.pair()
    assert await mine.ping(5.0) is not None
    for side in (mine, theirs):
        assert side.round_trip is None or 0 <= side.round_trip < 5.0
        side.close(0)
        assert side.round_trip is None


async def test_a_ping_is_answered_by_the_other_side(world):
    mine, theirs = await world.pair()
    assert 0 <= await mine.ping(5.0) < 5.0
    assert 0 <= await theirs.ping(5.0) < 5.0


async def test_an_idle_connection_stays(world):
    world.configure(beat_interval=0.1, dead_after=1.5)
    mine, theirs = await world.pair()
    ended = [asyncio.create_task(side.wait_closed()) for side in (mine, theirs)]
    done, _ = await asyncio.wait(ended, timeout=3.0)
    assert not done
    for task in ended:
        task.cancel()


async def test_nobody_at_the_address_is_unreachable_within_the_limit(world):
    world.configure(connect_timeout=0.5)
    a, b = await world.endpoint(), await world.endpoint()
    device, addresses = b.device, b.addresses()
    await b.close()
    with pytest.raises(Unreachable):
        async with asyncio.timeout(60):
            await a.connect(device, addresses, SESSION_ALPN)


async def test_a_device_at_the_address_of_another_is_not_taken_for_it(world):
    world.configure(connect_timeout=0.5)
    a, b, other = await world.endpoint(), await world.endpoint(), await world.endpoint()
    with pytest.raises(Unreachable):
        await a.connect(other.device, b.addresses(), SESSION_ALPN)


async def test_addresses_from_outside_may_be_anything(world):
    a, b = await world.endpoint(), await world.endpoint()
    nonsense = ["", "x", "127.0.0.1", "127.0.0.1:", "127.0.0.1:99999", "[::1", "0.0.0.0:5", "a:b:c:1", "\0:1"]
    mine = await a.connect(b.device, [*nonsense, *b.addresses()], SESSION_ALPN)
    assert mine.peer == b.device


async def test_a_device_cannot_connect_to_itself(world):
    a = await world.endpoint()
    with pytest.raises(Unreachable):
        await a.connect(a.device, a.addresses(), SESSION_ALPN)


async def test_a_cancelled_connect_leaves_no_connection_behind(world):
    a, b = await world.endpoint(), await world.endpoint()
    for patience in (0.0, 0.0005, 0.001, 0.002, 0.004, 0.008):
        task = asyncio.create_task(a.connect(b.device, b.addresses(), SESSION_ALPN))
        await asyncio.wait({task}, timeout=patience)
        task.cancel()
        await asyncio.wait({task})
        if not task.cancelled():
            task.result().close(CloseCode.NORMAL)
    # Whatever got through shows up there, and is closed by itself.
    while True:
        try:
            async with asyncio.timeout(0.3):
                connection = await b.accept()
        except TimeoutError:
            break
        async with asyncio.timeout(30):
            await connection.wait_closed()


async def test_both_directions_at_once_give_two_connections(world):
    a, b = await world.endpoint(), await world.endpoint()
    ours, theirs, at_a, at_b = await asyncio.gather(
        a.connect(b.device, b.addresses(), SESSION_ALPN),
        b.connect(a.device, a.addresses(), SESSION_ALPN),
        a.accept(),
        b.accept(),
    )
    await stream_between(ours, at_b)
    await stream_between(theirs, at_a)


async def test_a_device_that_restarted_on_a_new_port_is_reachable_again(world):
    a, b = await world.endpoint(1), await world.endpoint(2)
    mine, _ = await asyncio.gather(a.connect(b.device, b.addresses(), SESSION_ALPN), b.accept())
    before = b.addresses()
    await b.close()
    assert (await mine.wait_closed()).code == CloseCode.GOING_AWAY
    again = await world.endpoint(2)
    assert again.device == b.device
    assert again.addresses() != before
    mine, theirs = await asyncio.gather(
        a.connect(again.device, [*before, *again.addresses()], SESSION_ALPN), again.accept()
    )
    await stream_between(mine, theirs)


async def test_two_receivers_on_one_stream_are_a_defect(world):
    here, _ = await stream_between(*await world.pair())
    waiting = asyncio.create_task(here.receive())
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError):
        await here.receive()
    here.abort(CloseCode.NORMAL)
    await asyncio.wait({waiting})
