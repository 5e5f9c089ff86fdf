# SPDX-License-Identifier: GPL-3.0-or-later
"""Pieces of chunks: only what is right is taken, and whatever else comes ends the question."""

from __future__ import annotations

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from holofsd.core.chunk_list import build
from holofsd.core.errors import HoloError, ProtocolViolation, Refused
from holofsd.sync.pieces import Arrived, Piece, Pieces

KIB = 1 << 10
DATA = [blake3(bytes([number])).digest(300 * KIB) for number in range(16)]
LISTED = build(sum(map(len, DATA)), ((blake3(data).digest(), len(data)) for data in DATA))


def sent(index: int, size: int = 256 * KIB) -> list[Piece]:
    data = DATA[index]
    return [Piece(index, data[start : start + size], start + size >= len(data)) for start in range(0, len(data), size)]


def test_chunks_come_one_after_the_other_and_what_is_missing_is_told() -> None:
    pieces = Pieces(LISTED, range(3, 6))
    answer = [*sent(3), Piece(4, b"", True, missing=1), *sent(5, 100 * KIB)]
    came = [found for piece in answer if (found := pieces.take(piece)) is not None]
    assert came == [Arrived(3, DATA[3]), Arrived(5, DATA[5])]
    assert pieces.is_over
    assert pieces.missing == [4]


def test_a_chunk_with_other_bytes_is_refused() -> None:
    pieces = Pieces(LISTED, range(3, 6))
    first, second = sent(3)
    pieces.take(first)
    with pytest.raises(Refused):
        pieces.take(Piece(3, bytes(len(second.data)), True))


@pytest.mark.parametrize(
    ("before", "piece"),
    [
        ([], Piece(2, b"x", False)),
        ([], Piece(4, b"x", False)),
        ([], Piece(3, b"", False)),
        ([], Piece(3, b"", True)),
        ([], Piece(3, b"x", True)),
        ([], Piece(3, b"x", True, missing=1)),
        ([], Piece(3, bytes(300 * KIB + 1), True)),
        (sent(3)[:1], Piece(3, b"", True, missing=1)),
        ([], Piece(3, b"", True, missing=4)),
        (sent(3)[:1], Piece(4, b"x", False)),
        (sent(3), Piece(3, b"x", False)),
        ([*sent(3), *sent(4), *sent(5)], Piece(6, b"x", False)),
    ],
)
def test_an_answer_to_something_else_ends_the_question(before: list[Piece], piece: Piece) -> None:
    pieces = Pieces(LISTED, range(3, 6))
    for each in before:
        pieces.take(each)
    with pytest.raises(ProtocolViolation):
        pieces.take(piece)


@given(
    st.lists(
        st.builds(
            Piece,
            st.integers(0, 17),
            st.one_of(st.binary(max_size=8), st.sampled_from([piece.data for n in range(16) for piece in sent(n)])),
            st.booleans(),
            st.booleans(),
        ),
        max_size=20,
    )
)
def test_whatever_comes_only_what_is_right_is_taken(answer: list[Piece]) -> None:
    pieces = Pieces(LISTED, range(16))
    for piece in answer:
        try:
            found = pieces.take(piece)
        except HoloError:
            return
        assert found is None or found.data == DATA[found.index]
