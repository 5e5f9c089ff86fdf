# SPDX-License-Identifier: GPL-3.0-or-later
"""Cutting follows from the bytes, the size and the volume alone, and an edit changes few chunks."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pyfastcdc
import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from holofsd.core.chunk_list import LEAST_SIZE, PROFILES, ChunkList, ListedChunk, Profile
from holofsd.core.errors import Refused
from holofsd.core.ids import VolumeId
from holofsd.store.cutting import Cutter

MIB = 1 << 20
VOLUME = VolumeId(bytes(range(32)))
DATA = blake3(b"what is cut in tests").digest(12 * MIB)
CUTTER = Cutter(VOLUME)
FEW = settings(max_examples=25)


def cut(data: bytes, cutter: Cutter = CUTTER) -> ChunkList:
    return cutter.cut(io.BytesIO(data), len(data))


def chunks_of(chunks: ChunkList) -> list[ListedChunk]:
    return [chunks.chunk(index) for index in range(chunks.count)]


WHOLE = cut(DATA)


class Dripping:
    """Gives what it has in pieces of some sizes, as a read may."""

    def __init__(self, data: bytes, sizes: list[int]) -> None:
        self._rest = io.BytesIO(data)
        self._sizes = sizes
        self._turn = 0

    def readinto(self, buffer: memoryview) -> int:
        self._turn += 1
        return self._rest.readinto(buffer[: self._sizes[self._turn % len(self._sizes)]])


# ---- vectors: lists of other devices stay what they are, whatever pyfastcdc becomes
SIZES = [167827, 350960, 405485, 347125, 244081]
COUNT = 39
CID = "4e06e172fca9428da40f77d4918d2d92480e2af212b19b710fdaadb2580949a9"
SIZES_2 = [1515478, 1756527, 1350032, 1063518]
SIZES_3 = [5685555, 3522048, 5946025, 1276242]


def test_a_list_is_always_this_one() -> None:
    assert [WHOLE.chunk(index).size for index in range(5)] == SIZES
    assert WHOLE.count == COUNT
    assert WHOLE.cid().hex() == CID


@pytest.mark.parametrize(("profile", "sizes"), [(PROFILES[1], SIZES_2), (PROFILES[2], SIZES_3)])
def test_larger_content_is_always_cut_like_this(profile: Profile, sizes: list[int]) -> None:
    source = io.BytesIO(blake3(b"what is cut in tests").digest(40 * MIB))
    assert [chunk.size for chunk in CUTTER.chunks(source, profile)][: len(sizes)] == sizes


# ---- what a list follows from
def test_a_list_says_what_is_in_each_chunk() -> None:
    for chunk in chunks_of(WHOLE):
        assert chunk.hash == blake3(DATA[chunk.offset : chunk.offset + chunk.size]).digest()
    assert WHOLE.size == len(DATA)


@FEW
@given(st.lists(st.integers(1, 3 * MIB), min_size=1, max_size=4))
def test_it_does_not_matter_in_which_pieces_content_is_read(sizes: list[int]) -> None:
    data = DATA[: 5 * MIB]
    assert CUTTER.cut(Dripping(data, [size + 10_000 for size in sizes]), len(data)) == cut(data)


def test_a_file_is_cut_as_bytes_are(tmp_path: Path) -> None:
    (tmp_path / "film").write_bytes(DATA)
    with open(tmp_path / "film", "rb", buffering=0) as file:
        assert CUTTER.cut(file, len(DATA)) == WHOLE


def test_volumes_cut_in_different_places() -> None:
    other = cut(DATA, Cutter(VolumeId(bytes(32))))
    assert {chunk.hash for chunk in chunks_of(other)} & {chunk.hash for chunk in chunks_of(WHOLE)} == set()


def test_every_volume_can_be_cut() -> None:
    for number in range(64):
        cut(DATA[: LEAST_SIZE + 1], Cutter(VolumeId(bytes([number * 4] * 32))))


def test_zeros_are_cut_into_chunks_that_are_known() -> None:
    for profile in PROFILES:
        first = next(CUTTER.chunks(io.BytesIO(bytes(2 * profile.largest)), profile))
        assert (first.hash, first.size) == (profile.zeros, profile.largest)


# ---- what an edit changes
def changed(data: bytes) -> int:
    before = {chunk.hash for chunk in chunks_of(WHOLE)}
    return sum(chunk.hash not in before for chunk in chunks_of(cut(data)))


@FEW
@given(st.integers(0, len(DATA)), st.binary(min_size=1, max_size=1))
def test_a_byte_more_changes_at_most_three_chunks(at: int, byte: bytes) -> None:
    assert 0 < changed(DATA[:at] + byte + DATA[at:]) <= 3


@FEW
@given(st.integers(0, len(DATA) - 1))
def test_a_byte_less_changes_at_most_three_chunks(at: int) -> None:
    assert changed(DATA[:at] + DATA[at + 1 :]) <= 3


@FEW
@given(st.integers(1, 3 * MIB))
def test_what_is_appended_changes_no_chunk_but_the_last(more: int) -> None:
    longer = cut(DATA + blake3(b"more").digest(more))
    assert chunks_of(longer)[: WHOLE.count - 1] == chunks_of(WHOLE)[:-1]


@FEW
@given(st.integers(1, WHOLE.count - 1))
def test_cut_from_the_start_of_any_chunk_the_rest_is_cut_as_before(index: int) -> None:
    start = WHOLE.start(index)
    source = io.BytesIO(DATA)
    source.seek(start)
    rest = CUTTER.chunks(source, WHOLE.profile)
    assert [(c.hash, c.offset + start, c.size) for c in rest] == [
        (c.hash, c.offset, c.size) for c in chunks_of(WHOLE)[index:]
    ]


@FEW
@given(st.integers(0, len(DATA)), st.integers(0, 3), st.binary(max_size=300_000))
def test_cut_around_an_edit_alone_the_list_is_that_of_the_whole(at: int, chunks: int, fresh: bytes) -> None:
    """Cuts from the chunk before the edit, for a cut depends on the byte behind it, until one falls on an old one."""
    replaced = DATA[at : at + chunks * 200_000]
    edited = DATA[:at] + fresh + DATA[at + len(replaced) :]
    first = max((WHOLE.at(at) if at < len(DATA) else WHOLE.count - 1) - 1, 0)
    start, shift = WHOLE.start(first), len(edited) - len(DATA)
    old = {WHOLE.start(index) for index in range(WHOLE.count)}
    found = [(chunk.hash, chunk.size) for chunk in chunks_of(WHOLE)[:first]]
    source = io.BytesIO(edited)
    source.seek(start)
    for chunk in CUTTER.chunks(source, WHOLE.profile):
        found.append((chunk.hash, chunk.size))
        end = start + chunk.offset + chunk.size - shift
        if end >= at + len(replaced) and end in old:
            found += [(c.hash, c.size) for c in chunks_of(WHOLE)[WHOLE.at(end) :]]
            break
    assert found == [(chunk.hash, chunk.size) for chunk in chunks_of(cut(edited))]


# ---- what is refused
@pytest.mark.parametrize("size", [0, 1, LEAST_SIZE, (1 << 40) + 1])
def test_content_that_has_no_list_is_not_cut(size: int) -> None:
    with pytest.raises(Refused):
        CUTTER.cut(io.BytesIO(b"x"), size)


@pytest.mark.parametrize("size", [len(DATA) - 1, len(DATA) + 1])
def test_content_that_has_another_size_than_it_is_said_to_have_is_refused(size: int) -> None:
    with pytest.raises(Refused):
        CUTTER.cut(io.BytesIO(DATA), size)


def test_an_error_of_the_disk_reaches_who_cuts() -> None:
    class Broken:
        def readinto(self, buffer: memoryview) -> int:
            raise OSError("the disk")

    with pytest.raises(OSError, match="the disk"):
        CUTTER.cut(Broken(), 8 * MIB)


def test_the_slow_way_of_pyfastcdc_is_refused_with_what_to_do() -> None:
    program = """
import sys, warnings
warnings.simplefilter("error")
sys.modules["pyfastcdc.cy"] = None  # as where it was installed without a compiler
from holofsd.store.cutting import Cutter
from holofsd.core.errors import NotSupported
try:
    Cutter(bytes(32))
except NotSupported as error:
    print(error.message)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "PYFASTCDC_REQUIRE_CYTHON" in done.stdout


def test_pyfastcdc_is_the_version_that_was_looked_at() -> None:
    assert pyfastcdc.__version__ == "0.3.1"
