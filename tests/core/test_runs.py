# SPDX-License-Identifier: GPL-3.0-or-later
"""Layouts against what they stand for: for each chunk the place where it is, or none."""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import pairwise

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from holofsd.core.chunk_list import PROFILES, ChunkList, build
from holofsd.core.runs import (
    NOTHING,
    ZEROS,
    BodyExtent,
    ChunkRun,
    Layout,
    Places,
    count_here,
    decode_layout,
    encode_layout,
    extents,
    gaps,
    in_one_segment,
    laid,
    missing,
    of_zeros,
    part,
    segments_of,
    shared,
)

PROFILE = PROFILES[0]
SEGMENTS = 3


def content(names: list[int]) -> ChunkList:
    """Content of chunks that are the same where their names are; 0 is a chunk of zeros."""
    return build(sum(map(size_of, names)), ((hash_of(name), size_of(name)) for name in names))


def size_of(name: int) -> int:
    return PROFILE.least + name % 7 * 1001 if name else PROFILE.largest


def hash_of(name: int) -> bytes:
    return blake3(name.to_bytes(8, "big")).digest() if name else PROFILE.zeros


contents = st.lists(st.integers(0, 40), min_size=70, max_size=90).map(content)


@dataclass(frozen=True)
class At:
    """Place of one chunk: the model of a layout has one, or None, for each chunk."""

    segment: int
    place: int
    offset: int


def model_of(chunks: ChunkList, layout: Layout) -> list[At | None]:
    found: list[At | None] = [None] * chunks.count
    for run in layout:
        for index in range(run.first, run.end):
            assert found[index] is None, "two runs have one chunk"
            one = part(chunks, run, index, index + 1)
            found[index] = At(one.segment, one.place, one.offset)
    return found


@st.composite
def runs(draw: st.DrawFn, chunks: ChunkList) -> list[ChunkRun]:
    """Runs of which no two have one chunk, in any order."""
    edges = sorted(draw(st.sets(st.integers(0, chunks.count), max_size=12)))
    found = []
    for first, end in pairwise(edges):
        segment = draw(st.integers(-1, SEGMENTS))
        if segment == ZEROS:
            found.append(ChunkRun(first, end - first, ZEROS, 0, 0))
        elif segment > 0:
            shift = draw(st.sampled_from([0, 5, 64]))  # the same shift joins runs that follow one another
            found.append(ChunkRun(first, end - first, segment, first + shift, chunks.start(first) + shift * 100))
    return draw(st.permutations(found))


@st.composite
def laid_out(draw: st.DrawFn) -> tuple[ChunkList, Layout]:
    chunks = draw(contents)
    return chunks, laid(chunks, (), draw(runs(chunks)))


presences = st.dictionaries(st.integers(1, SEGMENTS), st.none() | st.binary(max_size=25)).map(
    lambda have: {segment: Places(bits) for segment, bits in have.items()}
)


def is_here(at: At | None, presence: dict[int, Places]) -> bool:
    if at is None or at.segment == ZEROS:
        return at is not None
    return at.segment in presence and presence[at.segment].has(at.place)


# ---- layouts
@given(st.data())
def test_runs_that_are_laid_over_others_count_and_the_rest_stays(data: st.DataObject) -> None:
    chunks, layout = data.draw(laid_out())
    fresh = data.draw(runs(chunks))
    expected = model_of(chunks, layout)
    for run in fresh:
        expected[run.first : run.end] = model_of(chunks, (run,))[run.first : run.end]
    after = laid(chunks, layout, fresh)
    assert model_of(chunks, after) == expected
    assert [*after] == sorted(after, key=lambda run: run.first)
    assert laid(chunks, (), after) == after
    one_by_one = layout
    for run in fresh:
        one_by_one = laid(chunks, one_by_one, [run])
    assert one_by_one == after
    assert segments_of(after) == {at.segment for at in expected if at is not None} - {ZEROS}


@given(contents)
def test_chunks_that_are_laid_one_by_one_in_order_are_one_run(chunks: ChunkList) -> None:
    whole = in_one_segment(chunks, 2)
    singles = [part(chunks, whole[0], index, index + 1) for index in range(chunks.count)]
    random.Random(1).shuffle(singles)
    layout: Layout = ()
    for run in singles:
        layout = laid(chunks, layout, [run])
    assert layout == whole


def test_runs_that_cannot_be_are_refused() -> None:
    chunks = content([1] * 70)
    for wrong in (
        [ChunkRun(-1, 2, 1, 0, 0)],
        [ChunkRun(0, 0, 1, 0, 0)],
        [ChunkRun(69, 2, 1, 0, 0)],
        [ChunkRun(0, 2, 1, 0, 0), ChunkRun(1, 2, 1, 0, 0)],
    ):
        with pytest.raises(ValueError):
            laid(chunks, (), wrong)


@given(contents)
def test_chunks_of_zeros_are_known(chunks: ChunkList) -> None:
    layout = of_zeros(chunks)
    zeros = [chunks.chunk(index).hash == PROFILE.zeros for index in range(chunks.count)]
    assert [at is not None for at in model_of(chunks, layout)] == zeros
    assert count_here(layout, {}, chunks.count) == sum(zeros)
    assert segments_of(layout) == set()


# ---- what is here
@given(laid_out(), presences, st.data())
def test_gaps_and_what_is_missing_are_what_no_run_and_no_bit_stands_for(
    case: tuple[ChunkList, Layout], presence: dict[int, Places], data: st.DataObject
) -> None:
    chunks, layout = case
    model = model_of(chunks, layout)
    first = data.draw(st.integers(0, chunks.count))
    end = data.draw(st.integers(first, chunks.count))
    found = gaps(layout, first, end)
    assert [index for gap in found for index in gap] == [n for n in range(first, end) if model[n] is None]
    lacking = missing(layout, presence, first, end)
    assert [index for each in lacking for index in each] == [
        n for n in range(first, end) if not is_here(model[n], presence)
    ]
    for parts in (found, lacking):
        assert all(one.stop < other.start for one, other in pairwise(parts))
    assert count_here(layout, presence, chunks.count) == sum(is_here(at, presence) for at in model)


@given(laid_out(), presences, st.data())
def test_extents_say_of_every_byte_where_it_is(
    case: tuple[ChunkList, Layout], presence: dict[int, Places], data: st.DataObject
) -> None:
    chunks, layout = case
    model = model_of(chunks, layout)
    offset = data.draw(st.integers(0, chunks.size) | st.sampled_from([*map(chunks.start, range(chunks.count))]))
    length = data.draw(st.integers(0, chunks.size + 10))
    found = extents(chunks, layout, presence, offset, length)
    at = offset
    for extent in found:
        assert extent.offset == at
        assert extent.length > 0
        at += extent.length
        for byte in {extent.offset, extent.offset + extent.length // 2, extent.offset + extent.length - 1}:
            where = model[chunks.at(byte)]
            if not is_here(where, presence):
                assert extent.segment is None
            else:
                assert where is not None
                assert extent.segment == where.segment
                inside = byte - chunks.start(chunks.at(byte))
                if extent.segment != ZEROS:
                    assert extent.source + byte - extent.offset == where.offset + inside
    assert at == (min(offset + length, chunks.size) if found else at)
    assert bool(found) == (length > 0 and offset < chunks.size)
    for one, other in pairwise(found):
        goes_on = one.segment in (None, ZEROS) or one.source + one.length == other.source
        assert one.segment != other.segment or not goes_on, "adjoining bytes are one extent"


def test_a_file_that_was_written_here_is_one_extent() -> None:
    chunks = content([*range(70)])
    (extent,) = extents(chunks, in_one_segment(chunks, 1), {1: Places(None)}, 1000, chunks.size)
    assert extent == BodyExtent(1000, chunks.size - 1000, 1, 1000)


@given(st.none() | st.binary(max_size=12), st.integers(0, 99), st.integers(0, 30))
def test_stretches_of_places_are_as_long_as_they_can_be(have: bytes | None, first: int, more: int) -> None:
    places, end = Places(have), first + more
    found = [*places.parts(first, end)]
    assert [place for start, stop, _ in found for place in range(start, stop)] == [*range(first, end)]
    assert all(places.has(place) is here for start, stop, here in found for place in range(start, stop))
    assert all(one[2] is not other[2] for one, other in pairwise(found))


# ---- sharing
edits = st.lists(st.tuples(st.integers(0, 90), st.integers(0, 4), st.lists(st.integers(0, 60), max_size=4)), max_size=3)


@given(st.lists(st.integers(0, 40), min_size=75, max_size=85), edits, st.data())
def test_what_two_contents_share_is_taken_from_where_the_other_has_it(
    names: list[int], changes: list[tuple[int, int, list[int]]], data: st.DataObject
) -> None:
    changed = [*names]
    for at, removed, added in changes:
        changed[at : at + removed] = added
    mine, theirs = content(changed), content(names)
    layout = laid(theirs, (), data.draw(runs(theirs)))
    model = model_of(theirs, layout)
    found = model_of(mine, laid(mine, (), shared(mine, theirs, layout)))
    where: dict[bytes, set[At | None]] = {}
    for index in range(theirs.count):
        where.setdefault(theirs.entry(index), set()).add(model[index])
    for index, at in enumerate(found):
        known = where.get(mine.entry(index), {None})
        assert at in known
        assert at is not None or None in known, "it is there, and was not found"


@given(st.lists(st.integers(0, 40), min_size=70, max_size=80), st.integers(0, 70))
def test_content_with_one_chunk_more_shares_all_others_as_two_runs(names: list[int], at: int) -> None:
    mine, theirs = content([*names[:at], 77, *names[at:]]), content(names)
    found = shared(mine, theirs, in_one_segment(theirs, 3))
    assert gaps(laid(mine, (), found), 0, mine.count) == [range(at, at + 1)]
    assert len(found) <= 2


@given(contents)
def test_content_shares_all_of_itself(chunks: ChunkList) -> None:
    layout = in_one_segment(chunks, 1)
    assert tuple(shared(chunks, chunks, layout)) == layout


# ---- stored
@given(laid_out())
def test_a_layout_is_read_as_it_was_stored(case: tuple[ChunkList, Layout]) -> None:
    chunks, layout = case
    assert decode_layout(encode_layout(layout), chunks.count) == layout


@given(st.binary(max_size=60), st.integers(0, 200))
def test_bytes_are_no_layout_or_one_that_can_be(data: bytes, count: int) -> None:
    try:
        layout = decode_layout(data, count)
    except ValueError:
        return
    assert all(run.count > 0 and run.end <= count for run in layout)
    assert all(one.end <= other.first for one, other in pairwise(layout))


def test_a_layout_is_stored_in_few_bytes() -> None:
    chunks = content([1] * 80)
    layout = laid(chunks, in_one_segment(chunks, 1), [ChunkRun(3, 1, 2, 0, 53)])
    assert encode_layout(layout).hex() == "0003010000" + "0001020035" + "004c0104a49f10"


@given(st.integers(1, 40), st.data())
def test_places_that_are_marked_and_cleared_are_those_of_a_set(count: int, data: st.DataObject) -> None:
    places, known = NOTHING, set[int]()
    part = st.tuples(st.integers(0, count), st.integers(0, count)).map(lambda ends: range(min(ends), max(ends)))
    for is_marked, stretches in data.draw(st.lists(st.tuples(st.booleans(), st.lists(part, max_size=3)), max_size=6)):
        for stretch in stretches:
            known = known.union(stretch) if is_marked else known.difference(stretch)
        places = places.marked(stretches, count) if is_marked else places.cleared(stretches, count)
        assert [places.has(place) for place in range(count)] == [place in known for place in range(count)]
        assert (places.stored is None) <= (len(known) == count)
        assert (places.stored is None) >= (is_marked and len(known) == count)


@pytest.mark.parametrize("stretch", [range(-1, 1), range(4, 6)])
def test_a_segment_has_no_other_places(stretch: range) -> None:
    with pytest.raises(ValueError, match="place"):
        NOTHING.marked([stretch], 5)
