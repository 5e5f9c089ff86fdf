# SPDX-License-Identifier: GPL-3.0-or-later
"""Payloads of records: states of nodes, devices, volumes. Encoding is canonical: equal values give equal bytes.

Names in links are only bounded here, not judged: what to do with a bad name is the projection's decision. These
functions run for every record, so they avoid helpers in the innermost steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from holofs_api.numbers import time_in_range
from holofs_peer.v1 import peer_pb2 as pb
from holofsd.codec.checks import KEY, at_most, number, parse, sized
from holofsd.core.clock import MAX_WALL_MS
from holofsd.core.document import DeviceInfo, VolumeInfo
from holofsd.core.errors import NotUnderstood, OtherKind, Refused
from holofsd.core.ids import ROOT_ID, AuthorId, BlobHash, DeviceId, Dot, Hlc, LinkId, NodeId
from holofsd.core.kinds import BOUND, kind_of
from holofsd.core.state import (
    Blob,
    Body,
    Chunk,
    Chunks,
    Context,
    Inline,
    Kind,
    Link,
    Manifest,
    Marker,
    NodeState,
    Pending,
    Place,
    Register,
    Removal,
    Target,
    Version,
)

FORMAT: Final = 1
MAX_PAYLOAD: Final = 1 << 20
MAX_AUTHORS: Final = 4096
MAX_VERSIONS: Final = 4096
MAX_LINK_REGISTERS: Final = 4096
"""A file has at most 1,024 names, but names that are gone leave their register behind."""
MAX_INLINE: Final = 64 << 10
MAX_CHUNKS: Final = 4096
MAX_TARGET: Final = 4095
MAX_NAME_BYTES: Final = 4096
MAX_XATTRS: Final = 1024
USER_XATTR: Final = b"user."
"""The namespace that travels."""
MAX_XATTR_NAME: Final = 255
MAX_XATTR_VALUE: Final = 64 << 10
MAX_XATTR_TOTAL: Final = 256 << 10
MAX_TEXT: Final = 1024
MAX_ADDRESSES: Final = 64
SEAL: Final = 64
"""Bytes of a seal. What is shorter is a remark in the index of one device, and means nothing to others."""
_NO_LIMIT: Final = 1 << 31
_ID: Final = 16
_MODE_BITS: Final = 0o7777
_MARKER: Final = Marker()
_NOTHING_REMOVED: Final = Removal()
_KINDS: Final = {int(kind): kind for kind in Kind}


# ---- encode ----
def encode_state(state: NodeState) -> bytes:
    """Encodes a state as a record. Content that is `Pending` is encoded too, for the index of this device only: see
    `node.is_publishable`."""
    kind = pb.NodeKind.ValueType(int(state.kind))
    record = pb.NodeRecord(format=FORMAT, id=state.id, kind=kind, created_ns=state.created_ns)
    for author, counter in _sorted(state.context):
        record.context.add(author=author, counter=counter)
    for version in state.versions.values() if len(state.versions) < 2 else _in_order(state):
        _put_version(record.versions.add(), version)
    for id, link in sorted(state.links.items()) if len(state.links) > 1 else state.links.items():
        _put_link(record.links.add(), id, link)
    removed = state.removed
    if removed.context or removed.links or removed.at:
        _put_removal(record.removed, removed)
    if state.mode is not None:
        record.mode.value = state.mode.value
        _put_stamp(record.mode.stamp, state.mode.stamp)
    if state.owner is not None:
        record.owner.uid, record.owner.gid = state.owner.value
        _put_stamp(record.owner.stamp, state.owner.stamp)
    for name, register in sorted(state.xattrs.items()):
        xattr = record.xattrs.add(name=name, value=register.value or b"", absent=register.value is None)
        _put_stamp(xattr.stamp, register.stamp)
    if state.times is not None:
        record.times.value = state.times.value
        _put_stamp(record.times.stamp, state.times.stamp)
    for index, version in enumerate(_in_order(state) if len(state.versions) > 1 else state.versions.values()):
        if version.seal:
            record.seals.add(version=index, signature=version.seal, origin=version.origin)
    return record.SerializeToString(deterministic=True)


def with_seals(payload: bytes, state: NodeState, seals: Mapping[Dot, bytes]) -> bytes:
    """The encoded `state` with these seals of versions that had none: a message goes on where another one ends."""
    more = pb.NodeRecord()
    for index, version in enumerate(_in_order(state)):
        if version.dot in seals:
            more.seals.add(version=index, signature=seals[version.dot], origin=version.origin)
    return payload + more.SerializeToString(deterministic=True)


def _sorted(context: Context) -> list[tuple[AuthorId, int]]:
    return sorted(context.items())


def _in_order(state: NodeState) -> list[Version]:
    return [state.versions[dot] for dot in sorted(state.versions)]


def _put_stamp(target: pb.Stamp, stamp: Hlc) -> None:
    target.wall_ms = stamp.wall_ms
    target.counter = stamp.counter
    target.author = stamp.author


def _put_version(target: pb.Version, version: Version) -> None:
    target.dot.author = version.dot.author
    target.dot.counter = version.dot.counter
    _put_stamp(target.stamp, version.stamp)
    _put_body(target, version.body)
    target.size = version.size
    target.mtime_ns = version.mtime.value
    _put_stamp(target.mtime_stamp, version.mtime.stamp)
    target.device_name = version.device_name


def _put_body(target: pb.Version, body: Body) -> None:
    if isinstance(body, Inline):
        target.file.inline = body.data
    elif isinstance(body, Blob):
        target.file.blob = body.hash
    elif isinstance(body, Marker):
        target.directory = True
    elif isinstance(body, Target):
        target.symlink = body.path
    elif isinstance(body, Pending):
        target.file.pending = body.staging
    elif isinstance(body, Manifest):
        target.file.manifest = body.hash
    else:
        target.file.chunks.SetInParent()
        for chunk in body.chunks:
            target.file.chunks.chunks.add(hash=chunk.hash, size=chunk.size)


def _put_link(target: pb.Link, id: LinkId, link: Link) -> None:
    target.id = id
    if link.place is not None:
        target.place.parent = link.place.parent
        target.place.name = link.place.name
    _put_stamp(target.stamp, link.stamp)
    if link.before is not None:
        target.before.parent = link.before.parent
        target.before.name = link.before.name


def _put_removal(target: pb.Removal, removed: Removal) -> None:
    for author, counter in _sorted(removed.context):
        target.context.add(author=author, counter=counter)
    for id, stamp in sorted(removed.links.items()):
        _put_stamp(target.links.add(id=id).stamp, stamp)
    for _author, at in sorted(removed.at.items()):
        _put_stamp(target.at.add(), at)


# ---- decode ----
def decode_state(payload: bytes) -> NodeState:
    """A state from outside. Raises Refused for what breaks a rule or a limit, NotUnderstood for a newer format."""
    state = _decode_state(payload, local=False)
    if state.id == ROOT_ID:
        raise Refused("the root has no record")
    return state


def decode_local_state(payload: bytes) -> NodeState:
    """A state from this device's own index, where content may be `Pending`.

    No limit holds for it: it is the join of what many devices say, each within the limits of a record.
    """
    return _decode_state(payload, local=True)


def fits(state: NodeState) -> bool:
    """Returns whether other devices accept as many parts in one record. Its bytes are counted when it is encoded."""
    removed, xattrs = state.removed, state.xattrs
    return (
        len(state.context) <= MAX_AUTHORS
        and len(state.versions) <= MAX_VERSIONS
        and len(state.links) <= MAX_LINK_REGISTERS
        and len(removed.context) <= MAX_AUTHORS
        and len(removed.links) <= MAX_LINK_REGISTERS
        and len(removed.at) <= MAX_AUTHORS
        and len(xattrs) <= MAX_XATTRS
        and sum(len(register.value or b"") for register in xattrs.values()) <= MAX_XATTR_TOTAL
    )


def _decode_state(payload: bytes, local: bool) -> NodeState:
    record = pb.NodeRecord()
    parse(record, payload, _NO_LIMIT if local else MAX_PAYLOAD, "record")
    if record.format != FORMAT:
        refuse_format(record.format)
    kind = _KINDS.get(record.kind)
    if kind is None or len(record.id) != _ID:
        raise Refused("the record has no valid node id or kind")
    if record.id.startswith(BOUND) and kind_of(NodeId(record.id)) not in (kind, None):
        raise OtherKind("the record calls a node something else than what its id says it is")
    context = _take_context(record.context, local)
    has_removal = record.HasField("removed")
    return NodeState(
        NodeId(record.id),
        kind,
        time_in_range(record.created_ns),
        context,
        _take_versions(record, kind, context, local),
        _take_links(record, local),
        _take_removal(record.removed, local) if has_removal else _NOTHING_REMOVED,
        _take_mode(record.mode) if record.HasField("mode") else None,
        _take_owner(record.owner) if record.HasField("owner") else None,
        _take_xattrs(record, local) if record.xattrs else {},
        _take_time(record.times) if record.HasField("times") else None,
    )


def refuse_format(format: int) -> None:
    """Raises for a record whose format is not FORMAT: NotUnderstood if a newer program reads it, Refused otherwise."""
    if format > FORMAT:
        raise NotUnderstood(f"the record has format {format}, which a newer program reads; it is kept until then")
    raise Refused("the record names no format")


def _take_context(entries: Sequence[pb.ContextEntry], local: bool) -> dict[AuthorId, int]:
    context: dict[AuthorId, int] = {}
    for entry in entries:
        author, counter = entry.author, entry.counter
        if len(author) != KEY:
            raise Refused("an author key has 32 bytes")
        context[AuthorId(author)] = number(counter, "counter", 1)
    if len(context) != len(entries) or (len(context) > MAX_AUTHORS and not local):
        raise Refused("a context names an author twice, or too many authors")
    return context


def _take_stamp(stamp: pb.Stamp) -> Hlc:
    author, wall_ms = stamp.author, stamp.wall_ms
    if len(author) != KEY or wall_ms > MAX_WALL_MS:
        raise Refused("a stamp needs an author and a time before the year 10889")
    return Hlc(wall_ms, stamp.counter, AuthorId(author))


def _take_versions(record: pb.NodeRecord, kind: Kind, context: Context, local: bool) -> dict[Dot, Version]:
    at_most(record.versions, _NO_LIMIT if local else MAX_VERSIONS, "versions")
    at_most(record.seals, _NO_LIMIT if local else MAX_VERSIONS, "seals")
    seals = {seal.version: seal for seal in record.seals if _is_seal(seal) or local}
    versions: dict[Dot, Version] = {}
    for index, entry in enumerate(record.versions):
        version = _take_version(entry, kind, local, seals.get(index))
        dot = version.dot
        if dot in versions or not 0 < dot.counter <= context.get(dot.author, 0):
            raise Refused("a version is named twice, or the record's own context does not know it")
        versions[dot] = version
    return versions


def _is_seal(seal: pb.Seal) -> bool:
    return len(seal.signature) == SEAL and len(seal.origin) in (0, _ID)


def _take_version(entry: pb.Version, kind: Kind, local: bool, seal: pb.Seal | None) -> Version:
    size = number(entry.size, "size")
    body = _take_body(entry, kind, size, local)
    if len(entry.device_name) > MAX_TEXT:
        raise Refused("a device name is too long")
    return Version(
        Dot(AuthorId(entry.dot.author), entry.dot.counter),
        _take_stamp(entry.stamp),
        body,
        size,
        Register(time_in_range(entry.mtime_ns), _take_stamp(entry.mtime_stamp)),
        entry.device_name,
        b"" if seal is None else seal.signature,
        b"" if seal is None else seal.origin,
    )


def _take_body(entry: pb.Version, kind: Kind, size: int, local: bool) -> Body:
    which = entry.WhichOneof("body")
    if which == "file" and kind is Kind.FILE:
        return _take_file(entry.file, size, local)
    if which == "directory" and kind is Kind.DIRECTORY and entry.directory:
        return _MARKER
    if which == "symlink" and kind is Kind.SYMLINK:
        path = entry.symlink
        if not 0 < len(path) <= MAX_TARGET or b"\0" in path or len(path) != size:
            raise Refused("the target of a symlink is empty, too long, or of another size than it says")
        return Target(path)
    raise Refused("a version's content does not fit the kind of its node")


def _take_file(file: pb.FileBody, size: int, local: bool) -> Body:
    which = file.WhichOneof("content")
    if which == "inline":
        if len(file.inline) != size or size > MAX_INLINE:
            raise Refused("inline content is too large, or of another size than it says")
        return Inline(file.inline)
    if which == "blob":
        return Blob(BlobHash(sized(file.blob, KEY, "content hash")))
    if which == "chunks":
        return _take_chunks(file.chunks, size)
    if which == "manifest":
        return Manifest(BlobHash(sized(file.manifest, KEY, "content hash")))
    if which == "pending" and local:
        return Pending(file.pending)
    raise Refused("a file version has no content that can be had")


def _take_chunks(chunk_list: pb.ChunkList, size: int) -> Chunks:
    at_most(chunk_list.chunks, MAX_CHUNKS, "chunks")
    chunks = tuple(
        Chunk(BlobHash(sized(c.hash, KEY, "content hash")), number(c.size, "chunk size", 1)) for c in chunk_list.chunks
    )
    if sum(chunk.size for chunk in chunks) != size:
        raise Refused("the chunks of a file do not add up to its size")
    return Chunks(chunks)


def _take_links(record: pb.NodeRecord, local: bool) -> dict[LinkId, Link]:
    links: dict[LinkId, Link] = {}
    for entry in record.links:
        if len(entry.id) != _ID:
            raise Refused("a link id has 16 bytes")
        links[LinkId(entry.id)] = Link(
            _take_place(entry.place) if entry.HasField("place") else None,
            _take_stamp(entry.stamp),
            _take_place(entry.before) if entry.HasField("before") else None,
        )
    if len(links) != len(record.links) or (len(links) > MAX_LINK_REGISTERS and not local):
        raise Refused("a link is named twice, or there are too many links")
    return links


def _take_place(place: pb.Place) -> Place:
    parent, name = place.parent, place.name
    if len(parent) != _ID or len(name) > MAX_NAME_BYTES:
        raise Refused("a place needs a parent of 16 bytes and a name of bounded length")
    return Place(NodeId(parent), name)


def _take_removal(removal: pb.Removal, local: bool) -> Removal:
    """Decodes a removal. It may have seen what the rest of the record has not: a shrunk record was joined
    (core.shrinking)."""
    at_most(removal.links, _NO_LIMIT if local else MAX_LINK_REGISTERS, "links")
    seen = _take_context(removal.context, local)
    links = {LinkId(sized(entry.id, _ID, "link id")): _take_stamp(entry.stamp) for entry in removal.links}
    if len(links) != len(removal.links):
        raise Refused("a removal names a link twice")
    at_most(removal.at, _NO_LIMIT if local else MAX_AUTHORS, "removals")
    at = {stamp.author: stamp for stamp in map(_take_stamp, removal.at)}
    if len(at) != len(removal.at):
        raise Refused("a removal names an author twice")
    return Removal(seen, links, at)


def _take_mode(register: pb.IntRegister) -> Register[int]:
    if not 0 <= register.value <= _MODE_BITS:
        raise Refused("a mode has twelve bits")
    return Register(register.value, _take_stamp(register.stamp))


def _take_time(register: pb.IntRegister) -> Register[int]:
    """Brought into its range, by every device in the same way: a time is no reason to refuse a file."""
    return Register(time_in_range(register.value), _take_stamp(register.stamp))


def _take_owner(register: pb.OwnerRegister) -> Register[tuple[int, int]]:
    return Register((register.uid, register.gid), _take_stamp(register.stamp))


def _take_xattrs(record: pb.NodeRecord, local: bool) -> dict[bytes, Register[bytes | None]]:
    """Only of the user namespace: others belong to the system, and would be a member's word about its rights.

    They are left out, here and of what was stored before, and are no reason to refuse the file.
    """
    entries = [entry for entry in record.xattrs if entry.name.startswith(USER_XATTR) and entry.name != USER_XATTR]
    at_most(entries, _NO_LIMIT if local else MAX_XATTRS, "extended attributes")
    xattrs: dict[bytes, Register[bytes | None]] = {}
    total = 0
    for entry in entries:
        total += len(entry.value)
        if len(entry.name) > MAX_XATTR_NAME or len(entry.value) > MAX_XATTR_VALUE or b"\0" in entry.name:
            raise Refused("an extended attribute has a bad name or too large a value")
        xattrs[entry.name] = Register(None if entry.absent else entry.value, _take_stamp(entry.stamp))
    if len(xattrs) != len(entries) or (total > MAX_XATTR_TOTAL and not local):
        raise Refused("an extended attribute is named twice, or they are too large in all")
    return xattrs


# ---- the other records ----
def encode_device(info: DeviceInfo) -> bytes:
    record = pb.DeviceRecord(
        format=FORMAT,
        node_key=info.device,
        name=info.name,
        program=info.program,
        addresses=info.addresses,
        replica_kind=info.replica_kind,
        named_ms=info.named_ms,
        sealed_from=info.sealed_from,
        features=info.features,
    )
    return record.SerializeToString(deterministic=True)


def decode_device(payload: bytes) -> DeviceInfo:
    record = pb.DeviceRecord()
    parse(record, payload, MAX_PAYLOAD, "device record")
    if record.format != FORMAT:
        refuse_format(record.format)
    at_most(record.addresses, MAX_ADDRESSES, "addresses")
    for text in (record.name, record.program, record.replica_kind, *record.addresses, *record.features):
        at_most(text, MAX_TEXT, "characters")
    device = DeviceId(sized(record.node_key, KEY, "node key"))
    named_ms = number(record.named_ms, "time of a name")
    sealed_from = number(record.sealed_from, "counter")
    at_most(record.features, MAX_ADDRESSES, "features")
    return DeviceInfo(
        device,
        record.name,
        record.program,
        tuple(record.addresses),
        record.replica_kind,
        named_ms,
        sealed_from,
        tuple(record.features),
    )


def encode_volume(info: VolumeInfo) -> bytes:
    record = pb.VolumeRecord(format=FORMAT, name=info.name)
    _put_stamp(record.stamp, info.stamp)
    return record.SerializeToString(deterministic=True)


def decode_volume(payload: bytes) -> VolumeInfo:
    record = pb.VolumeRecord()
    parse(record, payload, MAX_PAYLOAD, "volume record")
    if record.format != FORMAT:
        refuse_format(record.format)
    at_most(record.name, MAX_TEXT, "characters")
    return VolumeInfo(record.name, _take_stamp(record.stamp))
