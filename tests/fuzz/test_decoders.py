# SPDX-License-Identifier: GPL-3.0-or-later
"""Every decoder of bytes from outside, on what fuzzing with coverage has found worth keeping (`seeds`), and on bytes
near it. The long form is `scripts/soak decoders SEED DURATION`, which adds to the seeds."""

from __future__ import annotations

import random
import time
import tracemalloc
from pathlib import Path

import pytest

from fuzz.targets import TARGETS

SEEDS = Path(__file__).parent / "seeds"
MUTATIONS = 40
"""Of each seed."""
SLOWEST_S = 5.0
"""Of the processor."""
MOST_BYTES = 48 << 20
"""That a decoder may need for input of these sizes."""
ALL_BYTES = 1 << 20
"""What the seeds in the tree have together, so that they stay few and small."""


def seeds_of(name: str) -> list[bytes]:
    kept = [path.read_bytes() for path in sorted(SEEDS.joinpath(name).glob("*"))]
    return [*TARGETS[name].seeds, *kept, b"", b"\xff" * 64, bytes(4096)]


def near(data: bytes, chance: random.Random) -> bytes:
    """Cut, doubled, with bytes changed or lengths that lie."""
    made = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(made) + 1)
        kind = chance.randrange(5)
        if kind == 0:
            made[at : at + 1] = bytes([chance.randrange(256)])
        elif kind == 1:
            del made[at : at + chance.randint(1, 16)]
        elif kind == 2:
            made[at:at] = made[at : at + chance.randint(1, 64)]
        elif kind == 3:
            made[at : at + 1] = chance.choice((b"\xff\xff\xff\xff\x7f", b"\x80" * 9 + b"\x01", b"\0", b"\x7f"))
        else:
            made[at:at] = chance.randbytes(chance.randint(1, 40))
    return bytes(made)


@pytest.mark.parametrize("name", TARGETS)
def test_a_decoder_reads_or_refuses_whatever_it_is_given(name: str) -> None:
    chance, read = random.Random(name), TARGETS[name].read
    tracemalloc.start()
    try:
        for seed in seeds_of(name):
            for data in (seed, *(near(seed, chance) for _ in range(MUTATIONS))):
                began = time.process_time()
                read(data)
                assert time.process_time() - began < SLOWEST_S, data[:200]
        assert tracemalloc.get_traced_memory()[1] < MOST_BYTES
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", TARGETS)
def test_a_decoder_takes_what_it_is_for(name: str) -> None:
    """Valid input gets past the first check: else fuzzing would look at refusals alone."""
    assert TARGETS[name].seeds
    for seed in TARGETS[name].seeds:
        TARGETS[name].read(seed)


def test_the_seeds_belong_to_targets_and_are_few_and_small() -> None:
    assert {path.name for path in SEEDS.iterdir()} <= TARGETS.keys()
    assert sum(path.stat().st_size for path in SEEDS.rglob("*") if path.is_file()) <= ALL_BYTES


def test_a_git_index_whose_names_grow_does_not_grow_in_memory() -> None:
    entries = [
        bytes(60) + min(length, 0xFFF).to_bytes(2, "big") + b"\0a\0" for length in range(1, 40_000)
    ]  # each name repeats the one before it and adds a letter: 800 MB of names in 2.6 MB
    data = b"DIRC" + (4).to_bytes(4, "big") + len(entries).to_bytes(4, "big") + b"".join(entries)
    tracemalloc.start()
    try:
        TARGETS["git_index"].read(data)
        assert tracemalloc.get_traced_memory()[1] < MOST_BYTES
    finally:
        tracemalloc.stop()
