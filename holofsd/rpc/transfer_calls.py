# SPDX-License-Identifier: GPL-3.0-or-later
"""The part of holofs.v1.Control that takes many files into a volume, and tells of many for who copies them out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from holofs_api.v1 import control_pb2 as pb
from holofs_api.v1.control_pb2_grpc import ControlServicer
from holofsd.core.errors import BadArgument
from holofsd.fs.transfers import (
    ExtendedAttribute,
    ImportItem,
    ImportItems,
    ImportLook,
    ImportName,
    ImportSession,
)
from holofsd.rpc.convert import needed, to_message
from holofsd.rpc.transfer_api import TransferService

Context = Any


class TransferCalls(ControlServicer):
    """Calls of Control about imports and exports."""

    _device: TransferService

    async def Import(self, requests: AsyncIterator[pb.ImportRequest], context: Context) -> None:  # type: ignore[override]
        """One reply to each request, in order. The import ends with the stream, in whatever way that ends."""
        session: ImportSession | None = None
        try:
            async for request in requests:
                if session is None:
                    if request.WhichOneof("request") != "begin" or not request.begin.volume:
                        raise BadArgument("An import begins with the name of a volume.")
                    session = self._device.importing(request.begin.volume)
                    reply = pb.ImportReply(begun=to_message(session.begin(), pb.ImportBegun))
                else:
                    reply = await _answered(session, request)
                await context.write(reply)
        finally:
            if session is not None:
                session.close()

    async def Export(self, request: pb.ExportRequest, context: Context) -> AsyncIterator[pb.ExportItem]:
        needed(request.volume, "The volume")
        async with aclosing(self._device.export(request.volume, request.path)) as items:  # type: ignore[type-var]
            async for item in items:
                yield to_message(item, pb.ExportItem)


async def _answered(session: ImportSession, request: pb.ImportRequest) -> pb.ImportReply:
    asked = request.WhichOneof("request")
    if asked == "look":
        found = await session.look(_look(request.look))
        return pb.ImportReply(found=pb.ImportFound(names=[to_message(name, pb.FoundName) for name in found]))
    if asked == "items":
        wanted = ImportItems(tuple(map(_item, request.items.items)), request.items.durable, request.items.hold)
        results = [to_message(result, pb.ImportResult) for result in await session.put(wanted)]
        return pb.ImportReply(results=pb.ImportResults(results=results))
    if asked == "taken":
        session.taken(tuple(request.taken.staging))
        return pb.ImportReply(done=pb.ImportDone())
    raise BadArgument("An import begins once, and then asks for something.")


def _look(asked: pb.ImportLook) -> ImportLook:
    names = tuple(ImportName(name.path, name.size if name.HasField("size") else None) for name in asked.names)
    return ImportLook(names, asked.hashed, asked.read_back, asked.room)


def _item(item: pb.ImportItem) -> ImportItem:
    return ImportItem(
        path=item.path,
        kind=item.kind,
        mode=item.mode,
        mtime_ns=item.mtime_ns,
        data=item.data if item.HasField("data") else None,
        staging=item.staging,
        target=item.target,
        link_to=item.link_to,
        replaces=item.replaces,
        dated=item.dated,
        xattrs=tuple(ExtendedAttribute(xattr.name, xattr.value) for xattr in item.xattrs),
    )
