# SPDX-License-Identifier: GPL-3.0-or-later
"""Lies about content in chunks: versions with lists that are none, lists and chunks that are served wrong, and
questions for what cannot be.
"""

from __future__ import annotations

import asyncio
import contextlib

from blake3 import blake3

from holofs_peer.v1 import peer_pb2 as pb
from holofsd.core import edit
from holofsd.core.chunk_list import LEAST_SIZE, list_id
from holofsd.core.errors import HoloError
from holofsd.core.ids import BlobHash
from holofsd.core.state import Kind, Manifest
from model.liar import PATIENCE_S, Honest, Liar
from model.liar_chunks import MANNERS
from model.lies import lie
from model.lies_records import NAMES, above, node, say, version
from model.lies_wire import LAST
from model.looking import Numbers

COUNTS = (0, 1, 1024, 1025, (1 << 32) - 1)


# ---- versions
@lie("record")
async def content_in_chunks(liar: Liar, device: Honest, n: Numbers) -> None:
    """Content with a list, true or not, of a size that is true or not, in a file of its own or of another device."""
    chunks, data = liar.chunks.film()
    body = Manifest((chunks.cid(), BlobHash(liar.random_bytes()), BlobHash(blake3(data).digest()))[n[1] % 3])
    size = (len(data), len(data), 0, 1, len(data) - 1, LEAST_SIZE, 1 << 40, (1 << 43) - 1)[n[2] % 8]
    state = liar.pick(n[0], Kind.FILE) if n[1] % 2 else None
    if state is None:
        await say(liar, device, n, node(liar, Kind.FILE, body, size, NAMES[n[0] % len(NAMES)]))
    else:
        made = version(liar, body, size, above(state, liar))
        await say(liar, device, n, edit.with_version(state, made, list(state.versions)))


@lie("record")
async def lists_that_are_none(liar: Liar, device: Honest, n: Numbers) -> None:
    """A list that hashes right and that no device cuts: chunks of nothing, too large, or more than there are."""
    size = (LEAST_SIZE + 1, 1 << 30, 1 << 40)[n[1] % 3]
    count = (1, 40, 5000)[n[2] % 3]
    sizes = (0, 1, (1 << 32) - 1)[n[0] % 3]
    data = b"HFL1" + bytes([1 + n[1] % 3]) + count.to_bytes(4, "big") + size.to_bytes(8, "big")
    data += (bytes(32) + sizes.to_bytes(4, "big")) * count
    cid = list_id(data)
    liar.chunks.false_lists[cid] = data
    await say(liar, device, n, node(liar, Kind.FILE, Manifest(cid), size, NAMES[n[0] % len(NAMES)]))


# ---- serving
@lie("set")
async def serves_chunks_badly(liar: Liar, device: Honest, n: Numbers) -> None:
    """Chunks and lists that are wrong, missing, endless, too large, or those of another question."""
    liar.chunks.manner = MANNERS[n[1] % len(MANNERS)]
    await liar.talk(device)


# ---- questions
@lie("wire")
async def asks_for_chunks(liar: Liar, device: Honest, n: Numbers) -> None:
    """Ask for lists and chunks that this device has and has not, at impossible numbers, and take no answer."""
    stream = await liar.hello(device, pb.PURPOSE_CONTENT)
    if stream is None:
        return
    liar.trash.append(stream)
    cids = [liar.random_bytes(), b"short", *sorted(liar.chunks.films), *sorted(liar.blobs)]
    cid, count = cids[n[1] % len(cids)], COUNTS[n[2] % len(COUNTS)]
    first = (0, 1, (1 << 32) - 1)[n[0] % 3]
    with contextlib.suppress(HoloError, TimeoutError):
        async with asyncio.timeout(PATIENCE_S):
            for number in range(n[0] % 100):
                get_list = pb.GetList(id=LAST - number, cid=cid, offset=(0, LAST)[n[2] % 2], chunks=count)
                await stream.send(pb.Frame(get_list=get_list).SerializeToString())
                pieces = pb.GetPieces(id=number, cid=cid, first=first, count=count)
                await stream.send(pb.Frame(get_pieces=pieces).SerializeToString())
                await stream.send(pb.Frame(ask=pb.Ask(id=number, cid=cid)).SerializeToString())
                await stream.send(pb.Frame(get=pb.Get(id=number, hash=cid)).SerializeToString())
