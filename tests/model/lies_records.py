# SPDX-License-Identifier: GPL-3.0-or-later
"""Lies inside of records: what a member that may write says of nodes, its own and those of others.

`n[0]` picks the node, `n[1]` and `n[2]` vary the lie; where `n[2]` is odd it waits and goes out with the next one, so
that one page has several.
"""

from __future__ import annotations

from dataclasses import replace

from holofs_api.numbers import time_in_range
from holofs_peer.v1 import peer_pb2 as pb
from holofsd.codec.content import hash_bytes
from holofsd.codec.letting_go import encode_dropped, encode_folded
from holofsd.codec.records import encode_device, encode_state, encode_volume
from holofsd.core import edit
from holofsd.core.document import DeviceInfo, Dropped, VolumeInfo
from holofsd.core.ids import ROOT_ID, AuthorId, BlobHash, Dot, Hlc, LinkId, NodeId
from holofsd.core.state import (
    Blob,
    Body,
    Inline,
    Kind,
    Link,
    Marker,
    NodeState,
    Place,
    Register,
    Removal,
    Target,
    Version,
)
from model.liar import Honest, Liar, Record
from model.lies import lie
from model.looking import Numbers
from support.states import shown_version

END = (1 << 62) - 1
"""The greatest number that the protocol has."""
LAST_MS = (1 << 48) - 1
"""The latest time that fits into a stamp."""
NAMES = (b"a", b"b", b"c.txt", b"x", b"lie")
FLOOD = 400
FLOOD_BYTES = 20_000


async def say(liar: Liar, device: Honest, n: Numbers, *states: NodeState) -> None:
    """Publish these states, or hold them back for the next ones."""
    await _say_raw(liar, device, n, *((state.id, encode_state(state)) for state in states))


async def _say_raw(liar: Liar, device: Honest, n: Numbers, *records: Record) -> None:
    if n[2] % 4 == 1:
        liar.hold_back(*records)
    else:
        await liar.talk(device)
        await liar.publish(*records)


def version(liar: Liar, body: Body, size: int, stamp: Hlc | None = None, dot: Dot | None = None) -> Version:
    stamp = stamp or liar.stamp()
    mtime = Register(time_in_range(stamp.wall_ms * 1_000_000), stamp)  # no message holds more
    return Version(dot or liar.author.dot(), stamp, body, size, mtime, "mal")


def node(liar: Liar, kind: Kind, body: Body, size: int, name: bytes = b"lie", parent: NodeId = ROOT_ID) -> NodeState:
    """A node of the liar's own."""
    id, made = NodeId(liar.random_bytes(16)), version(liar, body, size)
    return edit.new_node(id, kind, 0, Place(parent, name), edit.link_id(id), made, 0o644, made.stamp)


def above(state: NodeState, liar: Liar, ahead_ms: int = 1) -> Hlc:
    """A stamp that wins over all of a state."""
    stamps = [link.stamp.wall_ms for link in state.links.values()]
    stamps += [v.stamp.wall_ms for v in state.versions.values()]
    return Hlc(max([liar.now_ms(), *stamps]) + ahead_ms, 0, liar.author.id)


def _folder(liar: Liar, number: int) -> NodeId:
    folder = liar.pick(number, Kind.DIRECTORY)
    return folder.id if folder is not None else ROOT_ID


# ---- honest ones, so that lies have something to stand on
@lie("record")
async def writes_a_file(liar: Liar, device: Honest, n: Numbers) -> None:
    """No lie: a new file, or a new version of somebody's that replaces what the liar saw."""
    data = liar.fresh("written", (20, 300, 6000)[n[1] % 3])
    body: Body = Inline(data)
    if len(data) > 4096:
        body = Blob(BlobHash(hash_bytes(data)))
        liar.blobs[body.hash] = data
    state = liar.pick(n[0], Kind.FILE)
    shown = shown_version(state) if state is not None else None
    if state is None or shown is None or n[1] % 2:
        await say(liar, device, n, node(liar, Kind.FILE, body, len(data), NAMES[n[0] % len(NAMES)]))
    else:
        stamp = Hlc(max(liar.now_ms(), shown.stamp.wall_ms + 1), 0, liar.author.id)
        await say(liar, device, n, edit.with_version(state, version(liar, body, len(data), stamp), [shown.dot]))


@lie("record")
async def removes_files(liar: Liar, device: Honest, n: Numbers) -> None:
    """Remove files as a person does who saw them."""
    found = liar.nodes()[n[0] % 3 :: 1 + n[1] % 3]
    await say(liar, device, n, *(edit.removed(state) for state in found))


# ---- versions of others
@lie("record")
async def forged_dot(liar: Liar, device: Honest, n: Numbers) -> None:
    """An honest version under its own dot, with other content and a later stamp."""
    state = liar.pick(n[0], Kind.FILE)
    if state is None or not state.versions:
        return
    dot = sorted(state.versions)[n[1] % len(state.versions)]
    old = state.versions[dot]
    stamp = Hlc(old.stamp.wall_ms + (1, 0, 3_600_000)[n[1] % 3], old.stamp.counter + 1, old.stamp.author)
    data = liar.fresh("forged")
    body: Body = Inline(data) if n[1] % 5 else Blob(BlobHash(liar.random_bytes()))
    forged = replace(old, stamp=stamp, body=body, size=len(data))
    await say(liar, device, n, replace(state, versions={**state.versions, dot: forged}))


@lie("record")
async def forged_dot_elsewhere(liar: Liar, device: Honest, n: Numbers) -> None:
    """A dot of an honest version, in a node where its author never gave it."""
    state, other = liar.pick(n[0], Kind.FILE), liar.pick(n[1], Kind.FILE)
    if state is None or other is None or not state.versions:
        return
    dot = sorted(state.versions)[0]
    stolen = version(liar, Inline(data := liar.fresh("stolen")), len(data), above(other, liar), dot)
    context = {**other.context, dot.author: max(dot.counter, other.context.get(dot.author, 0))}
    await say(liar, device, n, replace(other, versions={dot: stolen}, context=context))


@lie("record")
async def dots_to_come(liar: Liar, device: Honest, n: Numbers) -> None:
    """Versions under dots that an honest author will give later, and a context that covers all that it ever gives."""
    state = liar.pick(n[0], Kind.FILE)
    if state is None or not liar.heads:
        return
    author = sorted(liar.heads)[n[1] % len(liar.heads)]
    counter = (liar.heads[author].dots + 1 + n[1] % 3, END)[n[1] % 2]
    dot = Dot(author, counter)
    made = version(liar, Inline(data := liar.fresh("to come")), len(data), above(state, liar), dot)
    await say(liar, device, n, replace(state, versions={dot: made}, context={**state.context, author: counter}))


@lie("record")
async def covers_without_a_version(liar: Liar, device: Honest, n: Numbers) -> None:
    """A context that has seen honest versions and no version: the file is left without one."""
    found = liar.nodes(Kind.FILE, Kind.SYMLINK)
    states = found if n[1] % 3 == 0 else found[n[0] % max(len(found), 1) :][:1]
    await say(liar, device, n, *(replace(state, versions={}) for state in states))


@lie("record")
async def covers_with_a_forged_version(liar: Liar, device: Honest, n: Numbers) -> None:
    """Write as if it saw everything, with content that no device has."""
    state = liar.pick(n[0], Kind.FILE)
    if state is None:
        return
    made = version(liar, Blob(BlobHash(liar.random_bytes())), 1 + n[1] * 100, above(state, liar))
    context = {**state.context, made.dot.author: made.dot.counter}
    await say(liar, device, n, replace(state, versions={made.dot: made}, context=context))


@lie("record")
async def many_versions(liar: Liar, device: Honest, n: Numbers) -> None:
    """Write so many at once that each of them becomes a conflict copy."""
    state = liar.pick(n[0], Kind.FILE)
    if state is None:
        return
    found = {}
    for _ in range(5 + n[1] % 60):
        made = version(liar, Inline(data := liar.fresh("many")), len(data))
        found[made.dot] = made
    await say(liar, device, n, replace(state, versions=found, context={liar.author.id: liar.author.dots}))


# ---- kinds
@lie("record")
async def another_kind(liar: Liar, device: Honest, n: Numbers) -> None:
    """A record of nothing but another kind, of one node or of all."""
    states = liar.nodes() if n[1] % 3 == 0 else liar.nodes()[n[0] % max(len(liar.nodes()), 1) :][:1]
    kinds = [Kind((int(state.kind) + n[1]) % 3 + 1) for state in states]
    flipped = [NodeState(s.id, kind, 0) for s, kind in zip(states, kinds, strict=True) if kind is not s.kind]
    await say(liar, device, n, *flipped)


@lie("record")
async def another_kind_with_a_version(liar: Liar, device: Honest, n: Numbers) -> None:
    state = liar.pick(n[0])
    if state is None:
        return
    data = liar.fresh("kind")
    bodies: dict[Kind, tuple[Body, int]] = {
        Kind.FILE: (Inline(data), len(data)),
        Kind.DIRECTORY: (Marker(), 0),
        Kind.SYMLINK: (Target(b"/etc/passwd"), 11),
    }
    kind = Kind(int(state.kind) % 3 + 1)
    made = version(liar, *bodies[kind], above(state, liar))
    context = {**state.context, made.dot.author: made.dot.counter}
    await say(liar, device, n, replace(state, kind=kind, versions={made.dot: made}, context=context))


@lie("record")
async def created_elsewhen(liar: Liar, device: Honest, n: Numbers) -> None:
    """Claim of a node that exists another time of creation, which never changes."""
    if (state := liar.pick(n[0])) is not None:
        created = (-(1 << 63), (1 << 63) - 1, 0)[n[1] % 3]
        await say(liar, device, n, replace(state, created_ns=created))


# ---- links
def _relinked(state: NodeState, liar: Liar, place: Place | None, ahead_ms: int = 1) -> NodeState:
    stamp = above(state, liar, ahead_ms)
    links = {id: Link(place, stamp, link.place) for id, link in state.links.items()}
    return replace(state, links=links)


@lie("record")
async def links_to_nowhere(liar: Liar, device: Honest, n: Numbers) -> None:
    """The last link is gone, and nobody removed the node."""
    states = liar.nodes() if n[1] % 3 == 0 else liar.nodes()[n[0] % max(len(liar.nodes()), 1) :][:1]
    await say(liar, device, n, *(_relinked(state, liar, None) for state in states))


@lie("record")
async def under_an_unknown_parent(liar: Liar, device: Honest, n: Numbers) -> None:
    states = liar.nodes() if n[1] % 3 == 0 else liar.nodes()[n[0] % max(len(liar.nodes()), 1) :][:1]
    place = Place(NodeId(liar.random_bytes(16)), NAMES[n[1] % len(NAMES)])
    await say(liar, device, n, *(_relinked(state, liar, place) for state in states))


@lie("record")
async def under_a_file(liar: Liar, device: Honest, n: Numbers) -> None:
    """A parent that is no directory, or the node itself."""
    state, parent = liar.pick(n[0]), liar.pick(n[1], Kind.FILE, Kind.SYMLINK)
    if state is not None and parent is not None:
        place = Place(state.id if n[1] % 2 else parent.id, b"below")
        await say(liar, device, n, _relinked(state, liar, place))


@lie("record")
async def cycle_of_folders(liar: Liar, device: Honest, n: Numbers) -> None:
    """Directories in each other, honest ones or made up, with a file inside."""
    found = liar.nodes(Kind.DIRECTORY)[: 2 + n[1] % 4]
    while len(found) < 2:
        found.append(node(liar, Kind.DIRECTORY, Marker(), 0))
    states = []
    for number, state in enumerate(found):
        parent = found[(number + 1) % len(found)].id
        states.append(_relinked(state, liar, Place(parent, b"cycle%d" % number)))
    inside = node(liar, Kind.FILE, Inline(data := liar.fresh("in a cycle")), len(data), b"inside", found[0].id)
    await say(liar, device, n, *states, inside)


@lie("record")
async def names_that_cannot_be(liar: Liar, device: Honest, n: Numbers) -> None:
    names = (b"", b".", b"..", b"a/b", b"../../x", b"nul\0", b"n" * 256, b"n" * 4096, b"\xff\xfe", b"lost+found")
    name = names[n[1] % len(names)]
    state = liar.pick(n[0])
    if state is None or n[1] % 2:
        state = node(liar, Kind.FILE, Inline(data := liar.fresh("named")), len(data), name)
        await say(liar, device, n, state)
    else:
        await say(liar, device, n, _relinked(state, liar, Place(_folder(liar, n[1]), name)))


@lie("record")
async def many_links(liar: Liar, device: Honest, n: Numbers) -> None:
    """More names than a file may have, each in the same place or in places of others."""
    state = liar.pick(n[0], Kind.FILE)
    if state is None:
        return
    stamp = liar.stamp()
    count = (30, 1100)[n[1] % 7 == 0]
    links = {
        LinkId(hash_bytes(b"%d" % number)[:16]): Link(
            Place(ROOT_ID, b"a" if n[1] % 2 else b"link%d" % (number % 40)), stamp
        )
        for number in range(count)
    }
    await say(liar, device, n, replace(state, links={**state.links, **links}))


@lie("record")
async def many_links_to_nowhere(liar: Liar, device: Honest, n: Numbers) -> None:
    """A register for each name that ever was, up to the most there may be: no room is left for honest ones."""
    state = liar.pick(n[0])
    if state is None:
        return
    stamp = liar.stamp()
    links = {LinkId(hash_bytes(b"gone %d" % number)[:16]): Link(None, stamp) for number in range(4000)}
    await say(liar, device, n, replace(state, links=links))


@lie("record")
async def over_the_root(liar: Liar, device: Honest, n: Numbers) -> None:
    """A record about the root, or about lost+found."""
    made = node(liar, Kind.DIRECTORY, Marker(), 0)
    id = (ROOT_ID, edit.directory_id(ROOT_ID, b"lost+found", 0))[n[1] % 2]
    state = replace(made, id=id)
    await say(liar, device, n, state if n[1] % 3 else edit.removed(state))


# ---- stamps and times
@lie("record")
async def stamps_at_the_end(liar: Liar, device: Honest, n: Numbers) -> None:
    """A register, a link or a version with the latest time there is."""
    state = liar.pick(n[0])
    if state is None:
        return
    end = Hlc((LAST_MS, LAST_MS - 1, (1 << 48) - 2)[n[1] % 3], ((1 << 32) - 1, 0)[n[1] % 2], liar.author.id)
    which = n[1] % 4
    if which == 0:
        state = replace(state, mode=Register(0, end))
    elif which == 1:
        links = {id: Link(Place(ROOT_ID, b"at the end"), end) for id in state.links}
        state = replace(state, links=links)
    elif which == 2:
        state = replace(state, times=Register(0, end), xattrs={b"user.x": Register(b"end", end)})
    elif state.kind is Kind.FILE:
        made = version(liar, Inline(data := liar.fresh("last")), len(data), end)
        state = edit.with_version(state, made, list(state.versions))
    await say(liar, device, n, state)


@lie("record")
async def times_at_the_end(liar: Liar, device: Honest, n: Numbers) -> None:
    state = liar.pick(n[0], Kind.FILE)
    if state is None:
        return
    time_ns = (-(1 << 63), (1 << 63) - 1, -1)[n[1] % 3]
    stamp = above(state, liar)
    versions = {dot: replace(v, mtime=Register(time_ns, stamp)) for dot, v in state.versions.items()}
    await say(liar, device, n, replace(state, versions=versions, times=Register(time_ns, stamp)))


# ---- content
@lie("record")
async def another_size(liar: Liar, device: Honest, n: Numbers) -> None:
    """The content of an honest version, with a size that it does not have."""
    state = liar.pick(n[0], Kind.FILE)
    blobs = [v for s in liar.nodes(Kind.FILE) for v in s.versions.values() if isinstance(v.body, Blob)]
    if state is None or not blobs:
        return
    old = blobs[n[1] % len(blobs)]
    size = (old.size + 1, old.size - 1, 0, 1, END)[n[1] % 5]
    made = version(liar, old.body, size, above(state, liar))
    if n[2] % 3:
        await say(liar, device, n, edit.with_version(state, made, list(state.versions)))
    else:
        await say(liar, device, n, node(liar, Kind.FILE, old.body, size, NAMES[n[0] % len(NAMES)]))


@lie("record")
async def another_size_of_the_same_version(liar: Liar, device: Honest, n: Numbers) -> None:
    """An honest version as it is, but for its size."""
    state = liar.pick(n[0], Kind.FILE)
    if state is not None:
        versions = {dot: replace(v, size=v.size + 1 + n[1]) for dot, v in state.versions.items()}
        versions = {d: replace(v, body=Blob(BlobHash(hash_bytes(b"?")))) for d, v in versions.items()}
        await say(liar, device, n, replace(state, versions=versions))


@lie("record")
async def impossible_size(liar: Liar, device: Honest, n: Numbers) -> None:
    """A file larger than any disk; nothing else is to wait for room because of it."""
    size = (1 << 61, END, 1 << 45)[n[1] % 3]
    state = node(liar, Kind.FILE, Blob(BlobHash(liar.random_bytes())), size, NAMES[n[0] % len(NAMES)])
    await say(liar, device, n, state)


@lie("record")
async def content_nobody_has(liar: Liar, device: Honest, n: Numbers) -> None:
    count = 1 + n[1] % 40
    states = [
        node(liar, Kind.FILE, Blob(BlobHash(liar.random_bytes())), 5000 + n[1], b"nobody%d" % number)
        for number in range(count)
    ]
    await say(liar, device, n, *states)


@lie("record")
async def many_chunks(liar: Liar, device: Honest, n: Numbers) -> None:
    """A body of a form that no program of ours writes."""
    state = liar.pick(n[0], Kind.FILE)
    if state is None:
        return
    made = version(liar, Inline(b""), 0, above(state, liar))
    record = pb.NodeRecord.FromString(encode_state(edit.with_version(state, made, list(state.versions))))
    for entry in record.versions:
        if entry.dot.author == liar.author.id:
            chunks = [pb.Chunk(hash=liar.random_bytes(), size=1 << 20) for _ in range(10 + n[1] % 200)]
            entry.file.chunks.CopyFrom(pb.ChunkList(chunks=chunks))
            entry.size = len(chunks) << 20
            if n[1] % 3 == 0:
                entry.file.manifest = liar.random_bytes()
    await _say_raw(liar, device, n, (state.id, record.SerializeToString()))


# ---- attributes
@lie("record")
async def attributes_of_other_namespaces(liar: Liar, device: Honest, n: Numbers) -> None:
    state = liar.pick(n[0])
    if state is None:
        return
    names = (b"security.capability", b"trusted.overlay.opaque", b"system.posix_acl_access", b"user", b"x", b"user.a\nb")
    stamp = above(state, liar)
    xattrs: dict[bytes, Register[bytes | None]] = {name: Register(b"v", stamp) for name in names}
    await say(liar, device, n, replace(state, xattrs={**state.xattrs, **xattrs}))


@lie("record")
async def many_attributes(liar: Liar, device: Honest, n: Numbers) -> None:
    """Put as much of them as a record may hold on a file of another device, whose next record has no room for its
    own."""
    state = liar.pick(n[0])
    if state is None:
        return
    stamp = above(state, liar)
    value = bytes(250)
    xattrs: dict[bytes, Register[bytes | None]] = {
        b"user.%d" % number: Register(value, stamp) for number in range(1000)
    }
    await say(liar, device, n, replace(state, xattrs=xattrs))


# ---- removals
@lie("record")
async def removal_of_what_it_never_saw(liar: Liar, device: Honest, n: Numbers) -> None:
    """A removal whose context covers everything that its authors will ever write."""
    state = liar.pick(n[0])
    if state is None:
        return
    context = {author: END if n[1] % 2 else liar.heads[author].dots for author in sorted(liar.heads)}
    links = {id: Hlc(LAST_MS, 0, liar.author.id) for id in state.links}
    at = {liar.author.id: above(state, liar)}
    await say(liar, device, n, replace(state, removed=Removal(context, links, at), versions={}))


@lie("record")
async def covers_everything_to_come(liar: Liar, device: Honest, n: Numbers) -> None:
    """A context at the end of the range, for honest authors and for four thousand that do not exist."""
    state = liar.pick(n[0])
    if state is None:
        return
    context = dict.fromkeys(sorted(liar.heads), END)
    if n[1] % 2:
        context |= {AuthorId(hash_bytes(b"nobody %d" % number)): END for number in range(3900)}
    await say(liar, device, n, replace(state, versions={}, context=context))


# ---- other records
@lie("record")
async def unknown_keys(liar: Liar, device: Honest, n: Numbers) -> None:
    """A flood of records that no program understands: kept for ever by programs that keep what they do not know."""
    count = (20, FLOOD)[n[1] % 4 == 0]
    records = [(b"key%d-" % n[0] + b"%d" % number, bytes(FLOOD_BYTES)) for number in range(count)]
    await _say_raw(liar, device, n, *records)


@lie("record")
async def unreadable_records(liar: Liar, device: Honest, n: Numbers) -> None:
    """Nonsense, a newer format, or a record about another node than its key says, under keys of honest nodes."""
    states = liar.nodes()[:20]
    newer = pb.NodeRecord(format=999, kind=pb.NODE_KIND_FILE).SerializeToString()
    payload = (b"\xff" * 100, newer, b"", liar.random_bytes(500), bytes((1 << 20) - 100))[n[1] % 5]
    await _say_raw(liar, device, n, *((state.id, payload) for state in states), (liar.random_bytes(16), payload))


@lie("record")
async def about_another_node(liar: Liar, device: Honest, n: Numbers) -> None:
    one, other = liar.pick(n[0]), liar.pick(n[1])
    if one is not None and other is not None:
        await _say_raw(liar, device, n, (one.id, encode_state(other)))


@lie("record")
async def drops_what_others_need(liar: Liar, device: Honest, n: Numbers) -> None:
    """Drop its own records as soon as they were taken, or ones that it never had."""
    keys = [e for e in liar.author.newest.values() if len(e.key) == 16]
    dropped = [Dropped(e.key, e.seq) for e in keys[n[0] % 2 :]]
    if n[1] % 3 == 0:
        dropped += [Dropped(state.id, END) for state in liar.nodes()]
    for item in dropped:
        liar.author.newest.pop(item.key, None)
    await _say_raw(liar, device, n, (b"dropped", encode_dropped(dropped)))


@lie("record")
async def takes_back_what_it_said(liar: Liar, device: Honest, n: Numbers) -> None:
    """Publish under its own name a record that says less than the one before it."""
    keys = sorted(key for key in liar.author.newest if len(key) == 16)
    if not keys:
        return
    id = NodeId(keys[n[0] % len(keys)])
    await say(liar, device, n, NodeState(id, Kind.FILE if n[1] % 2 else Kind.DIRECTORY, 0))


@lie("record")
async def folds_honest_authors(liar: Liar, device: Honest, n: Numbers) -> None:
    """Says that nobody needs the records of authors who are at work, with their true last heads or older ones."""
    heads = [liar.heads[author] for author in sorted(liar.heads)]
    if n[1] % 2:
        heads = [head for head, _envelopes, _after in liar.log[n[0] % 5 :]][:50]
        heads = list({head.author: head for head in heads}.values())
    if heads:
        await _say_raw(liar, device, n, (b"folded", encode_folded(heads)))


@lie("record")
async def describes_devices(liar: Liar, device: Honest, n: Numbers) -> None:
    """A device record of somebody else, with addresses that lead nowhere, a name and a time at the end of the range."""
    whose = (device.id, liar.id)[n[0] % 2]
    name = (device.name, "n" * 1000, "\x1b[31m\n", "")[n[1] % 4]
    addresses = (*(f"224.0.0.1:{port}" for port in range(1, 60)), "https://relay.invalid./")
    info = DeviceInfo(whose, name, "p" * 900, addresses, "full", END)
    await _say_raw(liar, device, n, (b"device", encode_device(info)))


@lie("record")
async def renames_the_volume(liar: Liar, device: Honest, n: Numbers) -> None:
    info = VolumeInfo("x" * (1, 1000)[n[1] % 2], Hlc(LAST_MS, 0, liar.author.id))
    await _say_raw(liar, device, n, (b"volume", encode_volume(info)))


@lie("record")
async def records_without_end(liar: Liar, device: Honest, n: Numbers) -> None:
    """Many small files, again and again."""
    count = 50 + n[1] % 500
    states = [
        node(liar, Kind.FILE, Inline(data := liar.fresh("flood")), len(data), b"f%d" % number, _folder(liar, n[0]))
        for number in range(count)
    ]
    await say(liar, device, n, *states)


@lie("record")
async def one_name_for_many(liar: Liar, device: Honest, n: Numbers) -> None:
    """Hundreds of nodes that want one name, which somebody else has."""
    count = 10 + n[1] % 200
    name, parent = NAMES[n[0] % len(NAMES)], _folder(liar, n[0])
    states = []
    for number in range(count):
        data = liar.fresh("same name")
        if number % 3:
            states.append(node(liar, Kind.FILE, Inline(data), len(data), name, parent))
        else:
            states.append(node(liar, Kind.DIRECTORY, Marker(), 0, name, parent))
    await say(liar, device, n, *states)


@lie("record")
async def deep_folders(liar: Liar, device: Honest, n: Numbers) -> None:
    """A chain of folders longer than any path, with an honest file moved to its end."""
    states: list[NodeState] = []
    parent = ROOT_ID
    for _ in range(50 + n[1] % 300):
        states.append(node(liar, Kind.DIRECTORY, Marker(), 0, b"deep", parent))
        parent = states[-1].id
    if (state := liar.pick(n[0], Kind.FILE)) is not None and n[1] % 2:
        states.append(_relinked(state, liar, Place(parent, b"end")))
    await say(liar, device, n, *states)
