# SPDX-License-Identifier: GPL-3.0-or-later
"""Chunk lists: what is written is read again, and whatever could not have been cut is refused before it costs much."""

from __future__ import annotations

import struct
import tracemalloc
from dataclasses import replace

import pytest
from blake3 import blake3
from hypothesis import assume, given
from hypothesis import strategies as st

from holofsd.core import chunk_list
from holofsd.core.chunk_list import (
    ENTRY,
    HEADER,
    LEAST_SIZE,
    MAGIC,
    MOST_SIZE,
    PROFILES,
    ChunkList,
    Profile,
    build,
    decode,
    list_id,
    profile_of,
    read_header,
)
from holofsd.core.errors import Refused

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30


def hash_of(number: int) -> bytes:
    return blake3(number.to_bytes(8, "big")).digest()


def raw(profile: int, size: int, sizes: list[int], count: int | None = None) -> bytes:
    """A list as it stands on the disk, whatever it says."""
    head = MAGIC + struct.pack(">BIQ", profile, len(sizes) if count is None else count, size)
    return head + b"".join(hash_of(index) + struct.pack(">I", length) for index, length in enumerate(sizes))


@st.composite
def cut_sizes(draw: st.DrawFn, profile: Profile = PROFILES[0]) -> list[int]:
    """Sizes of the chunks of some content, as cutting can give them."""
    lengths = st.integers(profile.least, profile.largest) | st.sampled_from([profile.least, profile.largest])
    sizes = draw(st.lists(lengths, min_size=4, max_size=80))
    sizes[-1] = draw(st.integers(1, profile.largest))
    assume(profile_of(sum(sizes)) is profile)
    return sizes


def made(sizes: list[int]) -> ChunkList:
    return build(sum(sizes), ((hash_of(index), length) for index, length in enumerate(sizes)))


LARGE = made([PROFILES[0].largest] * 8)


# ---- what it says
@given(cut_sizes())
def test_a_list_is_read_as_it_was_written(sizes: list[int]) -> None:
    chunks = made(sizes)
    assert chunks.data == raw(1, sum(sizes), sizes)
    again = decode(chunks.data)
    assert again == chunks
    assert (again.size, again.count, again.profile.number) == (sum(sizes), len(sizes), 1)
    found = [again.chunk(index) for index in range(again.count)]
    assert [(chunk.hash, chunk.size) for chunk in found] == [(hash_of(n), size) for n, size in enumerate(sizes)]
    assert [chunk.offset for chunk in found] == [sum(sizes[:index]) for index in range(len(sizes))]
    assert b"".join(again.entry(index) for index in range(again.count)) == again.entries(0, again.count)


@given(cut_sizes(), st.data())
def test_every_byte_is_in_the_chunk_that_covers_it(sizes: list[int], data: st.DataObject) -> None:
    chunks = made(sizes)
    edges = [0, chunks.size - 1, *(chunks.start(index) for index in range(1, chunks.count))]
    offset = data.draw(st.sampled_from(edges) | st.integers(0, chunks.size - 1))
    chunk = chunks.chunk(chunks.at(offset))
    assert chunk.offset <= offset < chunk.offset + chunk.size
    length = data.draw(st.integers(0, 2 * chunks.size))
    covering = chunks.covering(offset, length)
    end = min(offset + length, chunks.size)
    expected = [n for n in range(chunks.count) if chunks.start(n) < end and offset < chunks.start(n + 1)]
    assert [*covering] == (expected if length else [])


def test_what_is_outside_is_in_no_chunk() -> None:
    for offset in (-1, LARGE.size):
        with pytest.raises(IndexError):
            LARGE.at(offset)
    for index in (-1, LARGE.count):
        with pytest.raises(IndexError):
            LARGE.chunk(index)
    assert [*LARGE.covering(LARGE.size, 5)] == []


def test_the_id_is_a_hash_that_no_content_has() -> None:
    cid = LARGE.cid()
    assert cid == list_id(LARGE.data) != blake3(LARGE.data).digest()
    assert cid.hex() == "57afd6dc74a52896c51fb6590df70ad25e8d2459234606fd177221ff106f2a4f"


def test_lists_are_equal_by_their_bytes() -> None:
    assert decode(LARGE.data) == LARGE
    assert hash(decode(LARGE.data)) == hash(LARGE)
    assert made([PROFILES[0].largest] * 9) != LARGE


# ---- profiles
@pytest.mark.parametrize(
    ("size", "number"),
    [
        (LEAST_SIZE, None),
        (LEAST_SIZE + 1, 1),
        (256 * MIB, 1),
        (256 * MIB + 1, 2),
        (16 * GIB, 2),
        (16 * GIB + 1, 3),
        (MOST_SIZE, 3),
        (MOST_SIZE + 1, None),
        (0, None),
    ],
)
def test_the_profile_follows_from_the_size_alone(size: int, number: int | None) -> None:
    found = profile_of(size)
    assert (found.number if found else None) == number


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: str(profile.number))
def test_zeros_are_known_by_their_hash(profile: Profile) -> None:
    assert profile.zeros == blake3(bytes(profile.largest)).digest()


# ---- what is refused
@given(cut_sizes(), st.data())
def test_a_list_with_one_byte_changed_is_refused_or_another_list(sizes: list[int], data: st.DataObject) -> None:
    good = made(sizes)
    at = data.draw(st.integers(0, HEADER + ENTRY - 1) | st.integers(0, len(good.data) - 1))
    wrong = bytearray(good.data)
    wrong[at] ^= data.draw(st.integers(1, 255))
    try:
        other = decode(bytes(wrong))
    except Refused:
        return
    assert (at - HEADER) % ENTRY < 32, "only a hash can be another one without being seen"
    assert other.cid() != good.cid()


@given(cut_sizes(), st.integers(-40, 40).filter(bool))
def test_a_list_that_is_cut_off_or_longer_is_refused(sizes: list[int], more: int) -> None:
    data = made(sizes).data
    with pytest.raises(Refused):
        decode(data[:more] if more < 0 else data + bytes(more))


@given(st.binary(max_size=200) | st.binary(max_size=200).map(lambda rest: MAGIC + rest))
def test_bytes_are_no_list(data: bytes) -> None:
    with pytest.raises(Refused):
        decode(data)


AVERAGE, LEAST, LARGEST = PROFILES[0].average, PROFILES[0].least, PROFILES[0].largest


@pytest.mark.parametrize(
    ("what", "data"),
    [
        ("another magic", b"HFL2" + LARGE.data[4:]),
        ("a profile that there is not", raw(4, 8 * MIB, [LARGEST] * 8)),
        ("the profile of other sizes", raw(2, 8 * MIB, [LARGEST] * 8)),
        ("content that has no list", raw(1, LEAST_SIZE, [LARGEST] * 4)),
        ("content that is too large", raw(3, MOST_SIZE + 1, [16 * MIB] * 8)),
        ("a chunk that is too small", raw(1, 8 * MIB, [LEAST - 1, *[LARGEST] * 7, LARGEST - LEAST + 1])),
        ("a chunk that is too large", raw(1, 8 * MIB, [LARGEST + 1, *[LARGEST] * 6, LARGEST - 1])),
        ("a last chunk that is too large", raw(1, 8 * MIB, [*[LARGEST] * 6, LARGEST - 1, LARGEST + 1])),
        ("a last chunk of nothing", raw(1, 8 * MIB, [*[LARGEST] * 8, 0])),
        ("chunks that are larger together", raw(1, 8 * MIB - 1, [LARGEST] * 8)),
        ("chunks that are smaller together", raw(1, 8 * MIB, [*[LARGEST] * 7, LARGEST - 1])),
        ("more chunks than there are", raw(1, 8 * MIB, [LARGEST] * 8, 9)),
        ("no chunk", raw(1, 8 * MIB, [])),
        ("sizes that come round", raw(1, 8 * MIB, [*[LARGEST] * 7, 2**32 - 1, LARGEST])),
    ],
)
def test_a_list_that_could_not_have_been_cut_is_refused(what: str, data: bytes) -> None:
    with pytest.raises(Refused):
        decode(data)


def test_a_list_with_as_many_chunks_as_there_can_be_is_read() -> None:
    assert made([LEAST] * 4096).count == 256 * MIB // LEAST
    assert made([*[LEAST] * 4095, LEAST - 1]).count == 4096


@pytest.mark.parametrize("size", [0, LEAST_SIZE, MOST_SIZE + 1, 1 << 70])
def test_content_that_has_no_list_is_refused_when_one_is_made(size: int) -> None:
    with pytest.raises(Refused):
        build(size, [(hash_of(0), 1)])


# ---- at what price
@pytest.mark.parametrize("count", [0, 1, 3, 2**31, 2**32 - 1])
def test_a_header_that_claims_too_much_or_too_little_is_refused_before_anything_follows(count: int) -> None:
    with pytest.raises(Refused):
        read_header(raw(1, 8 * MIB, [], count))


def test_the_length_of_a_list_is_bounded_by_its_header() -> None:
    for profile in PROFILES:
        size = profile.most
        most = (size - 1) // profile.least + 1
        header = read_header(raw(profile.number, size, [], most))
        assert header.length == HEADER + ENTRY * most <= HEADER + ENTRY * (4 * size // profile.average + 1)
        with pytest.raises(Refused):
            read_header(raw(profile.number, size, [], most + 1))


def test_a_long_list_is_refused_without_much_memory() -> None:
    count = 100_000
    good = raw(3, count * 4 * MIB, [4 * MIB] * count)
    for wrong in (good[:-1], good[:-4] + b"\0\0\0\1", good[: HEADER + 32] + b"\0\0\0\1" + good[HEADER + ENTRY :]):
        tracemalloc.start()
        with pytest.raises(Refused):
            decode(wrong)
        _now, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < len(good)


def test_nothing_is_computed_for_each_chunk_before_the_length_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunk_list, "_sizes", lambda data, count: pytest.fail("it looked at chunks"))
    for wrong in (LARGE.data[:-1], LARGE.data + b"x", b"HFL2" + LARGE.data[4:]):
        with pytest.raises(Refused):
            decode(wrong)


def test_a_header_says_what_follows() -> None:
    header = read_header(LARGE.data[:HEADER])
    assert (header.count, header.size, header.length) == (8, 8 * MIB, len(LARGE.data))
    assert replace(header, count=0).length == HEADER
