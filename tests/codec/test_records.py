# SPDX-License-Identifier: GPL-3.0-or-later
"""Payloads of records: what comes back is what was written, and nothing from outside does harm."""

from __future__ import annotations

import contextlib
import timeit
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holofs_api.numbers import MAX_TIME_NS, MIN_TIME_NS
from holofs_peer.v1 import peer_pb2 as pb
from holofsd.codec import records
from holofsd.codec.records import (
    decode_device,
    decode_local_state,
    decode_state,
    decode_volume,
    encode_device,
    encode_state,
    encode_volume,
)
from holofsd.core import edit
from holofsd.core.document import DeviceInfo, VolumeInfo
from holofsd.core.errors import NotUnderstood, Refused
from holofsd.core.ids import ROOT_ID, AuthorId, BlobHash, DeviceId, Dot, Hlc, LinkId, NodeId
from holofsd.core.join import join
from holofsd.core.state import (
    Blob,
    Body,
    Chunk,
    Chunks,
    Inline,
    Kind,
    Manifest,
    Marker,
    NodeState,
    Pending,
    Place,
    Register,
    Target,
    Version,
)

A, B = AuthorId(b"a" * 32), AuthorId(b"b" * 32)
NODE = NodeId(b"n" * 16)
HASH = BlobHash(b"h" * 32)


def stamp(ms: int = 1) -> Hlc:
    return Hlc(ms, 2, A)


def a_node(body: Body, size: int = 0, kind: Kind = Kind.FILE) -> NodeState:
    version = Version(Dot(A, 3), stamp(), body, size, Register(-5, stamp()), "Döner")
    return edit.new_node(NODE, kind, -7, Place(ROOT_ID, b"\xff name"), LinkId(b"l" * 16), version, 0o4755, stamp())


def everything() -> NodeState:
    state = a_node(Inline(b"data"), 4)
    other = Version(Dot(B, 9), stamp(8), Blob(HASH), 1 << 40, Register(0, stamp(9)), "")
    state = edit.with_version(state, other, [])
    state = edit.with_xattr(edit.with_xattr(state, b"user.k", b"v", stamp()), b"user.gone", None, stamp())
    state = replace(state, owner=Register((1000, 2**32 - 1), stamp()))
    state = edit.moved(state, LinkId(b"l" * 16), Place(NODE, b"x"), stamp(9))
    state = edit.with_link(state, LinkId(b"m" * 16), Place(NODE, b""), stamp(10))
    state = replace(edit.removed(state), times=Register(MIN_TIME_NS, stamp()))
    return edit.unlinked(
        edit.with_link(state, LinkId(b"o" * 16), Place(NODE, b"z"), stamp(50)), LinkId(b"m" * 16), stamp()
    )


@pytest.mark.parametrize(
    "state",
    [
        everything(),
        a_node(Inline(b"")),
        a_node(Blob(HASH), 2**40),
        a_node(Chunks((Chunk(HASH, 5), Chunk(HASH, 6))), 11),
        a_node(Chunks(())),
        a_node(Manifest(HASH), 2**40),
        a_node(Target(b"../somewhere"), 12, Kind.SYMLINK),
        a_node(Marker(), 0, Kind.DIRECTORY),
        NodeState(NODE, Kind.FILE, 0),
    ],
    ids=lambda state: type(next(iter(state.versions.values())).body).__name__ if state.versions else "nothing",
)
def test_a_state_comes_back_as_it_was(state: NodeState) -> None:
    assert decode_state(encode_state(state)) == state


def test_equal_states_give_equal_bytes_whatever_the_order_inside() -> None:
    state = everything()
    turned = replace(
        state,
        context=dict(reversed(list(state.context.items()))),
        versions=dict(reversed(list(state.versions.items()))),
        links=dict(reversed(list(state.links.items()))),
        xattrs=dict(reversed(list(state.xattrs.items()))),
    )
    assert encode_state(turned) == encode_state(state)


def test_pending_content_stays_on_this_device() -> None:
    payload = encode_state(a_node(Pending("staging-1"), 9))
    assert decode_local_state(payload) == a_node(Pending("staging-1"), 9)
    with pytest.raises(Refused):
        decode_state(payload)


def test_a_newer_format_is_not_understood_rather_than_wrong() -> None:
    record = pb.NodeRecord(format=2, id=NODE)
    with pytest.raises(NotUnderstood):
        decode_state(record.SerializeToString())


def test_fields_of_the_future_are_passed_over() -> None:
    unknown = b"\xfa\x7f\x03abc"  # field 2047, three bytes
    assert decode_state(encode_state(everything()) + unknown) == everything()


@pytest.mark.parametrize(
    ("sent", "taken"), [(-(2**63), MIN_TIME_NS), (MIN_TIME_NS - 1, MIN_TIME_NS), (-1, -1), (2**63 - 1, MAX_TIME_NS)]
)
def test_times_from_elsewhere_are_brought_into_the_range_of_times(sent: int, taken: int) -> None:
    record = pb.NodeRecord.FromString(encode_state(everything()))
    record.created_ns = record.times.value = record.versions[0].mtime_ns = sent
    state = decode_state(record.SerializeToString())
    assert state.times is not None
    assert {state.created_ns, state.times.value, min(state.versions.items())[1].mtime.value} == {taken}
    assert decode_state(encode_state(state)) == state


def _of(change: Callable[[pb.NodeRecord], object]) -> bytes:
    record = pb.NodeRecord.FromString(encode_state(everything()))
    change(record)
    return record.SerializeToString()


def _first(record: pb.NodeRecord) -> pb.Version:
    return record.versions[0]


HARMFUL: dict[str, Callable[[pb.NodeRecord], object]] = {
    "no format": lambda r: r.ClearField("format"),
    "short id": lambda r: setattr(r, "id", b"x"),
    "no kind": lambda r: r.ClearField("kind"),
    "unknown kind": lambda r: setattr(r, "kind", 9),
    "another kind": lambda r: setattr(r, "kind", 2),
    "short author in context": lambda r: setattr(r.context[0], "author", b"x"),
    "author twice": lambda r: r.context.add(author=r.context[0].author, counter=99),
    "counter zero": lambda r: r.context.add(author=b"z" * 32, counter=0),
    "huge counter": lambda r: r.context.add(author=b"z" * 32, counter=2**63),
    "too many authors": lambda r: [r.context.add(author=i.to_bytes(32, "big"), counter=1) for i in range(5000)],
    "version unknown to the context": lambda r: r.context.pop(0),
    "version twice": lambda r: r.versions.append(_first(r)),
    "version without a dot": lambda r: _first(r).ClearField("dot"),
    "version without a stamp": lambda r: _first(r).ClearField("stamp"),
    "version without an mtime stamp": lambda r: _first(r).ClearField("mtime_stamp"),
    "version without a body": lambda r: _first(r).ClearField("file"),
    "empty body": lambda r: _first(r).file.Clear(),
    "size that lies": lambda r: setattr(_first(r), "size", 5),
    "huge size": lambda r: setattr(r.versions[1], "size", 2**63),
    "long inline": lambda r: (setattr(_first(r).file, "inline", b"x" * 65537), setattr(_first(r), "size", 65537)),
    "short hash": lambda r: setattr(_first(r).file, "blob", b"x"),
    "short manifest": lambda r: setattr(_first(r).file, "manifest", b"x"),
    "chunks that do not add up": lambda r: _first(r).file.chunks.chunks.add(hash=HASH, size=1),
    "empty chunk": lambda r: _first(r).file.chunks.chunks.add(hash=HASH, size=0),
    "pending": lambda r: setattr(_first(r).file, "pending", "s"),
    "symlink in a file": lambda r: setattr(_first(r), "symlink", b"t"),
    "directory in a file": lambda r: setattr(_first(r), "directory", True),
    "long device name": lambda r: setattr(_first(r), "device_name", "x" * 5000),
    "time beyond all clocks": lambda r: setattr(_first(r).stamp, "wall_ms", 2**48),
    "short link id": lambda r: setattr(r.links[0], "id", b"x"),
    "link twice": lambda r: r.links.append(r.links[0]),
    "short parent": lambda r: setattr(r.links[0].place, "parent", b"x"),
    "endless name": lambda r: setattr(r.links[0].place, "name", b"x" * 5000),
    "bad place before": lambda r: setattr(r.links[0].before, "parent", b""),
    "link without a stamp": lambda r: r.links[0].ClearField("stamp"),
    "too many links": lambda r: [_link(r, i) for i in range(5000)],
    "removal of a short link id": lambda r: setattr(r.removed.links[0], "id", b""),
    "removal of a link twice": lambda r: r.removed.links.append(r.removed.links[0]),
    "mode of another world": lambda r: setattr(r.mode, "value", 0o10000),
    "negative mode": lambda r: setattr(r.mode, "value", -1),
    "mode without a stamp": lambda r: r.mode.ClearField("stamp"),
    "owner without a stamp": lambda r: r.owner.ClearField("stamp"),
    "times without a stamp": lambda r: r.times.ClearField("stamp"),
    "xattr with a long name": lambda r: setattr(r.xattrs[0], "name", b"user." + b"x" * 251),
    "xattr with NUL in its name": lambda r: setattr(r.xattrs[0], "name", b"user.\0"),
    "xattr with a long value": lambda r: setattr(r.xattrs[0], "value", b"x" * 65537),
    "xattr twice": lambda r: r.xattrs.append(r.xattrs[0]),
    "xattrs too large in all": lambda r: [_xattr(r, i) for i in range(5)],
    "too many xattrs": lambda r: [_xattr(r, i, 1) for i in range(2000)],
    "too large": lambda r: setattr(_first(r).file, "inline", b"x" * (1 << 20)),
}


def _link(record: pb.NodeRecord, number: int) -> None:
    link = record.links.add()
    link.CopyFrom(record.links[0])
    link.id = number.to_bytes(16, "big")


def _xattr(record: pb.NodeRecord, number: int, size: int = 60000) -> None:
    xattr = record.xattrs.add(name=b"user.%d" % number, value=b"x" * size)
    xattr.stamp.CopyFrom(record.mode.stamp)


@pytest.mark.parametrize("what", HARMFUL)
def test_a_record_that_breaks_a_rule_is_refused(what: str) -> None:
    payload = _of(HARMFUL[what])
    with pytest.raises(Refused):
        decode_state(payload)


@pytest.mark.parametrize(
    "name",
    [b"security.capability", b"trusted.overlay.opaque", b"system.posix_acl_access", b"user.", b"user", b"", b"\0"],
)
def test_attributes_outside_the_user_namespace_are_left_out_and_the_rest_counts(name: bytes) -> None:
    def also(record: pb.NodeRecord) -> None:
        for value in (b"1", b"2" * 70_000):
            xattr = record.xattrs.add(name=name, value=value)
            xattr.stamp.CopyFrom(record.mode.stamp)

    payload = _of(also)
    assert decode_state(payload) == decode_local_state(payload) == everything()


def test_the_record_that_the_harmful_ones_are_made_of_is_fine() -> None:
    assert decode_state(_of(lambda r: None)) == everything()


@pytest.mark.parametrize("target", [b"", b"x" * 4096, b"a\0b"])
def test_a_symlink_needs_a_target_that_a_kernel_would_take(target: bytes) -> None:
    with pytest.raises(Refused):
        decode_state(encode_state(a_node(Target(target), len(target), Kind.SYMLINK)))


def test_bad_names_are_left_to_the_projection() -> None:
    assert decode_state(encode_state(edit.moved(everything(), LinkId(b"o" * 16), Place(NODE, b"../x\0"), stamp(99))))


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_refused_or_mean_something(data: bytes) -> None:
    for decode in (decode_state, decode_local_state, decode_device, decode_volume):
        with contextlib.suppress(Refused):
            decode(data)


BASE = encode_state(everything())


@settings(max_examples=300)
@given(st.lists(st.tuples(st.integers(0, len(BASE) - 1), st.integers(0, 255)), min_size=1, max_size=4), st.booleans())
def test_altered_records_are_refused_or_are_states_that_can_be_used(edits: list[tuple[int, int]], cut: bool) -> None:
    damaged = bytearray(BASE)
    for at, value in edits:
        damaged[at] = value
    if cut:
        del damaged[edits[0][0] :]
    try:
        state = decode_state(bytes(damaged))
    except Refused:
        return
    assert decode_state(encode_state(state)) == state
    if state.id == NODE:
        assert join(state, everything()) == join(everything(), state)


def test_devices_and_volumes_come_back_as_they_were() -> None:
    device = DeviceInfo(DeviceId(b"d" * 32), "laptop", "holofs 0.1", ("127.0.0.1:5",), "full")
    assert decode_device(encode_device(device)) == device
    volume = VolumeInfo("docs", stamp())
    assert decode_volume(encode_volume(volume)) == volume


@pytest.mark.parametrize(
    "device",
    [
        DeviceInfo(DeviceId(b"short"), "n", "p"),
        DeviceInfo(DeviceId(b"d" * 32), "n" * 2000, "p"),
        DeviceInfo(DeviceId(b"d" * 32), "n", "p", ("a",) * 65),
        DeviceInfo(DeviceId(b"d" * 32), "n", "p", ("a" * 2000,)),
    ],
)
def test_a_device_record_out_of_bounds_is_refused(device: DeviceInfo) -> None:
    with pytest.raises(Refused):
        decode_device(encode_device(device))


def test_a_plain_file_is_encoded_and_decoded_in_microseconds() -> None:
    """The bound is ten times what is measured, for slow machines; it catches a lost fast path."""
    state = a_node(Blob(HASH), 10)
    payload = encode_state(state)
    for run in (lambda: encode_state(state), lambda: decode_state(payload), lambda: join(state, decode_state(payload))):
        assert min(timeit.repeat(run, number=200, repeat=5)) / 200 < 400e-6


def test_limits_allow_every_name_that_edits_allow() -> None:
    assert records.MAX_LINK_REGISTERS >= edit.MAX_LINKS
