# SPDX-License-Identifier: GPL-3.0-or-later
"""A reader of content that is damaged or gone gets it from elsewhere, or a clear error; nothing else is harmed."""

from __future__ import annotations

import os

import pytest

from holofsd.codec.content import hash_bytes
from holofsd.core.errors import ContentDamaged
from tests.fs.harness import Device, Program

DATA = os.urandom(200_000)


def harm(device: Device, how: str) -> None:
    path = device.store.content.path(hash_bytes(DATA))
    path.chmod(0o600)
    if how == "gone":
        path.unlink()
    elif how == "shortened":
        with path.open("r+b") as file:
            file.truncate(100_000)
    else:
        path.write_bytes(bytes(len(DATA)))


async def written(program: Program) -> None:
    await program.write("file", DATA)
    await program.write("other", DATA[:150_000])
    await program.device.settle()


@pytest.mark.parametrize("how", ["gone", "shortened"])
async def test_a_read_meets_damage_and_gets_the_content_from_elsewhere(program: Program, how: str) -> None:
    await written(program)
    device = program.device
    device.elsewhere.blobs[hash_bytes(DATA)] = DATA
    harm(device, how)
    assert await program.read("file") == DATA
    assert device.elsewhere.asked == [hash_bytes(DATA)]


@pytest.mark.parametrize("how", ["gone", "shortened"])
async def test_without_anybody_who_has_it_a_read_ends_in_a_clear_error(program: Program, how: str) -> None:
    await written(program)
    device = program.device
    harm(device, how)
    for _ in range(2):
        with pytest.raises(ContentDamaged, match="damaged on this device"):
            await program.read("file")
    assert device.store.content.missing() == (1, len(DATA))
    assert (await program.stat("file")).remote
    assert await program.read("other") == DATA[:150_000]


async def test_appending_to_what_is_damaged_does_not_save_the_damage(program: Program) -> None:
    await written(program)
    harm(program.device, "shortened")
    with pytest.raises(ContentDamaged):
        await program.append("file", b"more")
    program.device.elsewhere.blobs[hash_bytes(DATA)] = DATA
    await program.append("file", b"more")
    await program.device.settle()
    assert await program.read("file") == DATA + b"more"


async def test_what_a_mount_cannot_read_is_looked_at_to_the_last_byte(program: Program) -> None:
    await written(program)
    device = program.device
    harm(device, "altered")
    ino = await program.walk("file")
    device.elsewhere.blobs[hash_bytes(DATA)] = DATA
    await program.fs.fetch(program.att, ino, b"", 0, 0)
    assert not device.elsewhere.asked, "a look at its length does not show it"
    await program.fs.fetch(program.att, ino, b"", 0, 0, True)
    assert device.elsewhere.asked
    assert await program.read("file") == DATA


async def test_saving_again_what_is_damaged_here_makes_it_whole(program: Program) -> None:
    await written(program)
    harm(program.device, "shortened")
    await program.write("again", DATA)
    await program.device.settle()
    assert await program.read("again") == DATA
    assert await program.read("file") == DATA
