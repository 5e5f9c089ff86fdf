# SPDX-License-Identifier: GPL-3.0-or-later
"""Numbers at the ends of their fields, in journals and in the calls of mounts that keep one: they hold up nobody."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest
from google.protobuf.descriptor import FieldDescriptor

from holofs_api.journal import record
from holofs_api.numbers import MAX_TIME_NS, MIN_TIME_NS
from holofs_api.v1 import filesystem_pb2 as pb
from holofsd.fs.types import AttachRequest
from tests.fs.harness import Device, Program
from tests.fs.journalling import (
    NAME,
    TIME,
    attach,
    attached_again,
    create,
    journal,
    lease,
    mkdir,
    restarted,
    rmdir,
    say,
    unlink,
    write,
)


@pytest.fixture
def mount(device: Device) -> Program:
    return attach(device)


_NUMBERS = {
    FieldDescriptor.TYPE_UINT64: "uint64",
    FieldDescriptor.TYPE_UINT32: "uint32",
    FieldDescriptor.TYPE_INT64: "int64",
}
LARGEST = {"uint64": 2**64 - 1, "uint32": 2**32 - 1, "int64": 2**63 - 1}
SMALLEST = {"uint64": 0, "uint32": 0, "int64": -(2**63)}


def with_extremes(call: pb.CallRequest, values: dict[str, int]) -> Iterator[pb.CallRequest]:
    """The call with each of its numbers in turn at the end of what its field can hold."""
    field = call.WhichOneof("call")
    assert field is not None
    asked = getattr(call, field)
    for described in asked.DESCRIPTOR.fields:
        kind = _NUMBERS.get(described.type)
        if kind is not None and not (field == "set_attr" and described.name == "size"):
            changed = pb.CallRequest()
            changed.CopyFrom(call)
            setattr(getattr(changed, field), described.name, values[kind])
            yield changed


@pytest.mark.parametrize("values", [LARGEST, SMALLEST], ids=["largest", "smallest"])
@pytest.mark.parametrize("again", [restarted, attached_again, None], ids=["restarted", "mount gone", "said"])
async def test_numbers_at_the_ends_of_their_fields_hold_up_nobody(
    device: Device, mount: Program, values: dict[str, int], again: Callable[[Device], None] | None
) -> None:
    """Records as a mount of an earlier program may have left them."""
    ino = lease(mount)
    calls = [
        create(ino, b"first"),
        *with_extremes(create(ino + 1, b"file"), values),
        *with_extremes(mkdir(ino + 2, b"dir"), values),
        *with_extremes(pb.CallRequest(set_attr=pb.SetAttrRequest(ino=ino, mtime_ns=TIME, mode=0o600)), values),
        *with_extremes(unlink(ino, b"none"), values),
        *with_extremes(rmdir(ino, b"none"), values),
        create(ino + 3, b"bad/name", b"saved"),
        create(ino + 4, b"n" * 256, b"saved as well"),
        create(ino + 5, b"last"),
    ]
    if again is None:
        for number, call in enumerate(calls, start=1):
            assert say(device, mount, number, call).error.code not in ("internal", "not-yet"), call
    else:
        write(journal(mount), *calls)
        device.fs.detach(mount.att)
        again(device)
        assert not journal(mount).exists()
    seen = device.attach("other")
    names = await seen.tree()
    assert {"first", "last"} <= names.keys()
    for name in names:
        assert MIN_TIME_NS <= (await seen.stat(name)).mtime_ns <= MAX_TIME_NS
    saved = {path.read_bytes() for path in (device.directory / "unsaved").iterdir()}
    assert {b"saved", b"saved as well"} <= saved


async def test_a_record_with_a_number_that_no_index_holds_is_none(device: Device, mount: Program) -> None:
    ino, path = lease(mount), journal(mount)
    path.write_bytes(
        record(1, create(ino, b"one").SerializeToString()) + record(2**63, create(ino + 1, b"two").SerializeToString())
    )
    device.restart()
    assert await device.attach("other").tree() == {"one": b"promised"}
    assert not path.exists()
    assert not device.fs.is_behind


async def test_a_mount_that_says_it_was_answered_beyond_all_numbers_is_attached(device: Device, mount: Program) -> None:
    request = AttachRequest("test", "journalled", "/mnt", os.getpid(), False, (), NAME, answered=2**64 - 1)
    again = Program(device, device.fs.attach(request))
    assert not say(device, again, 1, create(lease(again), b"one")).HasField("error")
