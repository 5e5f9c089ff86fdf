# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages between devices as they should be, for others to be made from, and values that mean something in them."""

from __future__ import annotations

from fuzz.messages import Pools
from holofs_peer.v1 import peer_pb2 as pb
from holofsd.core.ids import ROOT_ID

A, B, NODE = b"a" * 32, b"b" * 32, b"n" * 16
POOLS: Pools = {
    "author": [A, B],
    "device": [A],
    "issuer": [A],
    "Version.size": [0, 3],
    "hash": [b"h" * 32],
    "blob": [b"h" * 32],
    "inline": [b"abc"],
    "format": [1],
    "NodeRecord.id": [NODE],
    "Link.id": [b"l" * 16, b"m" * 16],
    "LinkStamp.id": [b"l" * 16],
    "parent": [bytes(ROOT_ID), NODE],
    "counter": [0, 1, 2],
    "wall_ms": [1, 1_700_000_000_000],
    "kind": [1, 2, 3],
    "seq": [1, 2],
    "signature": [b"s" * 64],
    "set_hash": [b"h" * 32],
    "secret": [b"s" * 16],
    "volume": [A],
    "role": [1, 2, 3],
    "generation": [1],
}


DOT = pb.Dot(author=A, counter=1)
STAMP = pb.Stamp(wall_ms=1_700_000_000_000, counter=1, author=A)
PLACE = pb.Place(parent=ROOT_ID, name=b"name")
VERSION = pb.Version(dot=DOT, stamp=STAMP, file=pb.FileBody(inline=b"abc"), size=3, mtime_ns=5, mtime_stamp=STAMP)
CONTEXT = [pb.ContextEntry(author=A, counter=1)]


def node(kind: int, version: pb.Version) -> pb.NodeRecord:
    return pb.NodeRecord(
        format=1,
        id=NODE,
        kind=kind,  # type: ignore[arg-type]
        context=CONTEXT,
        versions=[version],
        links=[pb.Link(id=b"l" * 16, place=PLACE, stamp=STAMP, before=PLACE)],
        mode=pb.IntRegister(value=0o644, stamp=STAMP),
        owner=pb.OwnerRegister(uid=1, gid=1, stamp=STAMP),
        xattrs=[pb.XattrRegister(name=b"user.x", value=b"v", stamp=STAMP)],
    )


def _with(version: pb.Version, **body: object) -> pb.Version:
    other = pb.Version()
    other.CopyFrom(version)
    other.ClearField("file")
    other.MergeFrom(pb.Version(**body))  # type: ignore[arg-type]
    return other


NODES = [
    node(1, VERSION),
    node(1, _with(VERSION, file=pb.FileBody(blob=b"h" * 32))),
    node(1, _with(VERSION, file=pb.FileBody(chunks=pb.ChunkList(chunks=[pb.Chunk(hash=b"h" * 32, size=3)])))),
    node(2, _with(VERSION, directory=True)),
    node(3, _with(VERSION, symlink=b"abc")),
]
REMOVED = node(1, VERSION)
REMOVED.removed.CopyFrom(pb.Removal(context=CONTEXT, links=[pb.LinkStamp(id=b"l" * 16, stamp=STAMP)]))
NODES.append(REMOVED)
DEVICE = pb.DeviceRecord(format=1, node_key=A, name="a", program="p", addresses=["192.0.2.1:1"], replica_kind="full")
VOLUME = pb.VolumeRecord(format=1, name="docs", stamp=STAMP)
ENVELOPE = pb.Envelope(author=A, seq=1, key=NODE, payload=NODES[0].SerializeToString(), signature=b"s" * 64)
HEAD = pb.Head(author=A, seq=1, dots=1, set_hash=b"h" * 32, signature=b"s" * 64)
DROPPED = pb.DroppedRecord(format=1, dropped=[pb.DroppedKey(key=NODE, seq=1)])
FOLDED = pb.FoldedRecord(format=1, heads=[HEAD])
MARK = pb.Mark(device=A, at_ms=1, authors=[pb.AuthorSeq(author=A, seq=1, set_hash=b"h" * 32)], signature=b"s" * 64)
CREDENTIALS = pb.Credentials(
    grants=[pb.Grant(device=A, role=1, generation=1, issuer=B, device_name="a", signature=b"s" * 64)],  # type: ignore[arg-type]
    removals=[pb.Removed(device=A, generation=1, issuer=B, signature=b"s" * 64, kept_grants=[b"d" * 32])],
    certificates=[pb.Certificate(author=A, device=B, author_signature=b"s" * 64, device_signature=b"s" * 64)],
)
HELLO = pb.Hello(protocol=1, volume=A, purpose=1, credentials=CREDENTIALS, device_name="a", program="p", clock_ms=1)  # type: ignore[arg-type]
FRAMES = [
    pb.Frame(hello=HELLO),
    pb.Frame(welcome=pb.Welcome(protocol=1, device_name="a", program="p", clock_ms=1)),
    pb.Frame(credentials=CREDENTIALS),
    pb.Frame(have=pb.Have(heads=[HEAD], first=True)),
    pb.Frame(want=pb.Want(author=A, after=0)),
    pb.Frame(records=pb.Records(author=A, envelopes=[ENVELOPE], head=HEAD)),
    pb.Frame(confirm=pb.Confirm(author=A, seq=1)),
    pb.Frame(marks=pb.Marks(marks=[MARK])),
    pb.Frame(ping=pb.Ping(id=1, clock_ms=1)),
    pb.Frame(pong=pb.Pong(id=1, clock_ms=1)),
    pb.Frame(bye=pb.Bye(code=1, reason="r")),
    pb.Frame(get=pb.Get(id=1, hash=b"h" * 32)),
    pb.Frame(blob=pb.Blob(id=1, data=b"abc", end=True, size=3)),
    pb.Frame(hold=pb.Hold(id=1, hashes=[b"h" * 32])),
    pb.Frame(held=pb.Held(id=1, held=[True])),
    pb.Frame(get_list=pb.GetList(id=1, cid=b"h" * 32, chunks=3)),
    pb.Frame(list=pb.List(id=1, data=b"HFL1", end=True)),
    pb.Frame(get_pieces=pb.GetPieces(id=1, cid=b"h" * 32, first=2, count=3)),
    pb.Frame(piece=pb.Piece(id=1, index=2, data=b"abc", end=True)),
    pb.Frame(ask=pb.Ask(id=1, cid=b"h" * 32)),
    pb.Frame(has=pb.Has(id=1, places=b"\x05")),
]
INVITE = pb.Invite(
    volume=A,
    secret=b"s" * 16,
    role=2,
    issuer=B,
    addresses=["192.0.2.1:1"],
    volume_name="docs",  # type: ignore[arg-type]
)
CHUNK_LISTS = [
    b"HFL1\1"
    + count.to_bytes(4, "big")
    + (size * count).to_bytes(8, "big")
    + (b"h" * 32 + size.to_bytes(4, "big")) * count
    for count, size in ((5, 1 << 20), (70, 1 << 16))
]
