# SPDX-License-Identifier: GPL-3.0-or-later
"""The call of an import: one reply to each request, and an end whatever the client does."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest

from holofs_api.errors import detail_of
from holofs_api.v1 import control_pb2 as pb
from holofs_api.v1.control_pb2_grpc import ControlStub
from holofsd.core.errors import VolumeUnknown
from holofsd.fs.transfers import (
    FoundName,
    ImportBegun,
    ImportItem,
    ImportItems,
    ImportLook,
    ImportName,
    ImportResult,
)
from holofsd.rpc.server import serving
from support.fake_device import FakeDevice

BEGIN = pb.ImportRequest(begin=pb.ImportBegin(volume="docs"))


class Session:
    def __init__(self) -> None:
        self.asked: list[object] = []
        self.ended = asyncio.Event()

    def begin(self) -> ImportBegun:
        return ImportBegun(b"/staging \xff", 7)

    async def look(self, asked: ImportLook) -> tuple[FoundName, ...]:
        self.asked.append(asked)
        return tuple(FoundName(name.path, "file", size=3, here=True) for name in asked.names)

    async def put(self, wanted: ImportItems) -> tuple[ImportResult, ...]:
        self.asked.append(wanted)
        return tuple(ImportResult(item.path, "imported") for item in wanted.items)

    def taken(self, staging: tuple[str, ...]) -> None:
        self.asked.append(staging)

    def close(self) -> None:
        self.ended.set()


class ImportingDevice(FakeDevice):
    def __init__(self) -> None:
        super().__init__()
        self.session = Session()

    def importing(self, volume: str) -> Session:
        if volume != "docs":
            raise VolumeUnknown("There is no such volume.")
        return self.session


async def test_each_request_has_its_reply_and_the_import_ends_with_the_stream(state: Path) -> None:
    device = ImportingDevice()
    item = pb.ImportItem(path=b"f", kind="file", data=b"", xattrs=[pb.ExtendedAttribute(name=b"user.x", value=b"y")])
    requests = [
        BEGIN,
        pb.ImportRequest(look=pb.ImportLook(names=[pb.ImportName(path=b"\xff"), pb.ImportName(path=b"f", size=0)])),
        pb.ImportRequest(items=pb.ImportItems(items=[item], hold=True)),
        pb.ImportRequest(taken=pb.ImportTaken(staging=["a"])),
    ]
    async with serving(device, state / "s"), grpc.aio.insecure_channel(f"unix:{state}/s") as channel:
        call = ControlStub(channel).Import(iter(requests))
        replies = [reply async for reply in call]
        await device.session.ended.wait()
    assert [reply.WhichOneof("reply") for reply in replies] == ["begun", "found", "results", "done"]
    assert (replies[0].begun.folder, replies[0].begun.reserve_bytes) == (b"/staging \xff", 7)
    assert [(name.path, name.kind, name.here) for name in replies[1].found.names] == [
        (b"\xff", "file", True),
        (b"f", "file", True),
    ]
    assert replies[2].results.results[0].what == "imported"
    look, items, taken = device.session.asked
    assert look == ImportLook((ImportName(b"\xff"), ImportName(b"f", 0)))
    assert isinstance(items, ImportItems)
    assert (items.hold, items.durable) == (True, False)
    assert [(one.path, one.data, one.xattrs[0].value) for one in items.items if isinstance(one, ImportItem)] == [
        (b"f", b"", b"y")
    ]
    assert taken == ("a",)


@pytest.mark.parametrize(
    ("requests", "code"),
    [
        ([pb.ImportRequest(look=pb.ImportLook())], "bad-argument"),
        ([pb.ImportRequest(begin=pb.ImportBegin())], "bad-argument"),
        ([pb.ImportRequest(begin=pb.ImportBegin(volume="other"))], "volume-unknown"),
        ([BEGIN, BEGIN], "bad-argument"),
        ([BEGIN, pb.ImportRequest()], "bad-argument"),
    ],
    ids=["look", "no volume", "unknown", "twice", "empty"],
)
async def test_what_makes_no_sense_ends_the_import(state: Path, requests: list[Any], code: str) -> None:
    device = ImportingDevice()
    async with serving(device, state / "s"), grpc.aio.insecure_channel(f"unix:{state}/s") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            async for _ in ControlStub(channel).Import(iter(requests)):
                pass
        assert detail_of(refused.value).code == code
        assert device.session.ended.is_set() == (requests[0] == BEGIN)
