# SPDX-License-Identifier: GPL-3.0-or-later
"""Spans: each chunk is asked for, of a device that has it, once as long as devices are quick; programs come first."""

from __future__ import annotations

import random

import pytest

from holofsd.core.chunk_list import PROFILES, ChunkList, build
from holofsd.core.ids import DeviceId
from holofsd.core.runs import NOTHING, Places
from holofsd.sync.spans import AHEAD_BYTES, SPAN_BYTES, Span, Spans

KIB = 1 << 10
ALL = Places(None)
A, B, C = (DeviceId(bytes([number]) * 32) for number in (1, 2, 3))
PATIENCE = 3.0


def chunks(*sizes: int) -> ChunkList:
    return build(sum(sizes), ((bytes([index % 256]) * 32, size) for index, size in enumerate(sizes)))


EVEN = chunks(*[256 * KIB] * 200)
"""50 MiB in chunks of which 16 are a span."""


def whole(listed: ChunkList) -> Spans:
    return Spans(listed, [range(listed.count)])


def finish(spans: Spans, span: Span, now: float = 0.0) -> None:
    for chunk in span.chunks:
        spans.arrived(span, chunk, now)
    spans.give_back(span)


def taken(spans: Spans, device: DeviceId, now: float = 0.0, has: Places = ALL) -> Span:
    span = spans.take(device, now, has, PATIENCE)
    assert span is not None
    return span


def test_streams_take_one_span_after_the_other() -> None:
    spans = whole(EVEN)
    assert [taken(spans, device).chunks for device in (A, B, A)] == [range(16), range(16, 32), range(32, 48)]


def test_only_what_is_not_here_is_asked_for() -> None:
    spans = Spans(EVEN, [range(3, 5), range(100, 200)])
    assert spans.lacking == 102
    assert [taken(spans, A).chunks for _ in range(3)] == [range(3, 5), range(100, 116), range(116, 132)]


def test_a_large_chunk_is_a_span_of_its_own() -> None:
    least, largest = PROFILES[2].least, PROFILES[2].largest
    listed = chunks(*[largest] * 1100, *[least] * 4, largest)
    spans = Spans(listed, [range(1099, 1105)])
    assert [taken(spans, A).chunks for _ in range(3)] == [range(1099, 1100), range(1100, 1104), range(1104, 1105)]


def test_a_device_is_asked_for_what_it_has() -> None:
    spans = whole(EVEN)
    has = NOTHING.marked([range(5, 7), range(150, 200)], 200)
    assert [taken(spans, B, has=has).chunks for _ in range(2)] == [range(5, 7), range(150, 166)]
    assert spans.take(C, 0.0, NOTHING, PATIENCE) is None
    assert taken(spans, A).chunks == range(5)


def test_what_a_program_waits_for_comes_first_and_what_is_behind_it_next() -> None:
    spans = whole(EVEN)
    spans.begin_wait(100 * 256 * KIB + 7)
    urgent = spans.take(A, 0.0, ALL, PATIENCE, urgent_only=True)
    assert urgent is not None
    assert urgent.chunks == range(100, 116)
    assert spans.is_urgent(urgent)
    behind = taken(spans, B)
    assert behind.chunks == range(116, 132)
    assert not spans.is_urgent(behind)
    rest = AHEAD_BYTES // SPAN_BYTES - 2
    assert [taken(spans, A).chunks.start for _ in range(rest + 1)] == [132, 148, 0]
    assert spans.take(B, 0.0, ALL, PATIENCE, urgent_only=True) is None
    spans.end_wait(100 * 256 * KIB + 7)
    assert not spans.is_urgent(urgent)


def test_what_a_slow_device_has_is_asked_of_another_one_when_nothing_else_is_left() -> None:
    spans = Spans(EVEN, [range(16)])
    slow = taken(spans, A)
    spans.arrived(slow, 0, 1.0)
    assert spans.take(B, 1.0 + PATIENCE - 0.1, ALL, PATIENCE) is None
    assert spans.take(A, 1.0 + PATIENCE, ALL, PATIENCE) is None, "it is asked already"
    second = taken(spans, B, 1.0 + PATIENCE)
    assert second.chunks == range(1, 16)
    assert spans.take(C, 1.0 + 2 * PATIENCE, ALL, PATIENCE) is None, "the second one has its time, too"
    third = spans.take(C, 1.0 + 4 * PATIENCE, ALL, PATIENCE)
    assert third is not None, "two slow devices shut no third one out"
    spans.give_back(third)
    for chunk in second.chunks:
        assert spans.arrived(second, chunk, 5.0)
    assert spans.is_whole
    assert spans.is_done(slow)
    assert not spans.arrived(slow, 1, 6.0)


def test_what_did_not_come_is_free_again_unless_another_device_is_asked_for_it() -> None:
    spans = Spans(EVEN, [range(16)])
    first = taken(spans, A)
    second = taken(spans, B, PATIENCE)
    spans.give_back(first)
    assert spans.take(C, PATIENCE, ALL, PATIENCE) is None
    spans.arrived(second, 0, PATIENCE)
    spans.give_back(second)
    assert taken(spans, C, PATIENCE).chunks == range(1, 16)


def test_a_damaged_chunk_is_asked_for_again() -> None:
    spans = Spans(EVEN, [])
    assert spans.is_whole
    spans.lost(range(7, 8))
    assert taken(spans, A).chunks == range(7, 8)


@pytest.mark.parametrize("seed", range(60))
def test_whatever_devices_do_all_of_it_comes_and_no_quick_device_is_asked_in_vain(seed: int) -> None:
    chance = random.Random(seed)
    count = chance.randint(20, 300)
    listed = chunks(*(chance.randint(64 * KIB, 1024 * KIB) for _ in range(count)), 256 * KIB)
    lacking = sorted(chance.sample(range(listed.count), chance.randint(1, listed.count)))
    spans = Spans(listed, [range(chunk, chunk + 1) for chunk in lacking])
    some = NOTHING.marked(
        [range(chunk, chunk + 1) for chunk in chance.sample(lacking, len(lacking) // 2)], listed.count
    )
    devices = {A: ALL, B: some, C: ALL}
    open_spans: list[Span] = []
    asked = dict.fromkeys(lacking, 0)
    waits: list[int] = []
    now = 0.0
    for _ in range(20_000):
        if spans.is_whole:
            break
        now += chance.uniform(0, 1.0)
        device = chance.choice(list(devices))
        match chance.choice(["take", "take", "arrive", "arrive", "arrive", "stop", "wait", "go on"]):
            case "take":
                if (span := spans.take(device, now, devices[device], PATIENCE, chance.random() < 0.2)) is not None:
                    assert all(devices[device].has(chunk) for chunk in span.chunks if spans.lacks(chunk))
                    assert listed.start(span.chunks.stop) - listed.start(span.chunks.start) <= max(
                        SPAN_BYTES, listed.chunk(span.chunks.start).size
                    )
                    open_spans.append(span)
                    for chunk in span.chunks:
                        if spans.lacks(chunk):
                            asked[chunk] += 1
            case "arrive" if open_spans:
                span = chance.choice(open_spans)
                came = next((chunk for chunk in span.chunks if spans.lacks(chunk)), None)
                if came is not None:
                    assert spans.arrived(span, came, now)
                if spans.is_done(span):
                    spans.give_back(span)
                    open_spans.remove(span)
            case "stop" if open_spans and chance.random() < 0.3:
                span = open_spans.pop(chance.randrange(len(open_spans)))
                spans.give_back(span)
            case "wait" if len(waits) < 3:
                waits.append(chance.randrange(listed.size))
                spans.begin_wait(waits[-1])
            case "go on" if waits:
                spans.end_wait(waits.pop(0))
        for chunk in lacking:
            askers = [span.device for span in open_spans if chunk in span.chunks and spans.lacks(chunk)]
            assert len(askers) == len(set(askers)), "each device once"
    assert spans.is_whole
    assert all(asked.values())
