# SPDX-License-Identifier: GPL-3.0-or-later
"""Content of files for the page: text and pictures to be shown, and anything to be saved.

What is shown is told apart by its bytes, never by its name, and only kinds of pictures that cannot hold a script are
pictures. Nothing is served in a way that lets a browser run it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from starlette.responses import Response, StreamingResponse

from holofs_api.v1 import control_pb2 as pb
from holofs_window.control_client import CallFailed, ControlClient
from holofs_window.guard import FILE_POLICY
from holofs_window.sessions import Download

MOST_TEXT: Final = 256 << 10
MOST_PICTURE: Final = 8 << 20
_PICTURES: Final = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)


class BrokenOff(Exception):
    """The rest of a file did not come. The connection ends without the end of the answer, so that the browser counts
    the download as failed."""


@dataclass(frozen=True, slots=True)
class Preview:
    """Content to be shown. `kind`: text, picture, other (nothing to show) or large (a picture that is too large).
    `is_cut`: of a text, there is more."""

    kind: str
    type: str
    data: bytes
    is_cut: bool = False

    def response(self) -> Response:
        headers = {
            "content-security-policy": FILE_POLICY,
            "x-holofs-kind": self.kind,
            "x-holofs-cut": "1" if self.is_cut else "0",
        }
        return Response(self.data, media_type=self.type, headers=headers)


def pieces(daemon: ControlClient, volume: str, path: bytes, id: str = "") -> AsyncIterator[Any]:
    """Content of a file or, with `id`, of an alternative of a conflict, in messages with `data`."""
    if id:
        return daemon.stream("ReadAlternative", pb.ReadAlternativeRequest(volume=volume, path=path, id=id))
    return daemon.stream("ReadFile", pb.ReadFileRequest(volume=volume, path=path))


async def preview(found: AsyncIterator[Any]) -> Preview:
    """Reads no more than can be shown. Raises CallFailed."""
    data = bytearray()
    async with aclosing(found) as messages:  # type: ignore[type-var]
        async for message in messages:
            data += message.data
            if len(data) > (MOST_PICTURE if picture_type(data) else MOST_TEXT):
                break
    if type := picture_type(data):
        is_whole = len(data) <= MOST_PICTURE
        return Preview("picture", type, bytes(data)) if is_whole else Preview("large", "text/plain", b"")
    return _text(bytes(data[:MOST_TEXT]), is_cut=len(data) > MOST_TEXT)


def picture_type(data: bytes | bytearray) -> str:
    """The media type of a picture, by its first bytes; empty where it is none."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return next((type for begin, type in _PICTURES if data.startswith(begin)), "")


def _text(data: bytes, *, is_cut: bool) -> Preview:
    try:
        text = data.decode("utf-8", "strict")
    except UnicodeDecodeError as error:
        if not (is_cut and error.start >= len(data) - 3):  # the cut went through a character
            return Preview("other", "text/plain", b"")
        text = data[: error.start].decode()
    if "\0" in text:
        return Preview("other", "text/plain", b"")
    return Preview("text", "text/plain", text.encode(), is_cut)


async def download(daemon: ControlClient, wanted: Download) -> Response:
    """A file to be saved. What fails before the first byte is an error; later, the connection ends. Raises
    CallFailed."""
    found = pieces(daemon, wanted.volume, wanted.path)
    first = await anext(found, None)
    headers = {
        "content-security-policy": FILE_POLICY,
        "content-disposition": f"attachment; filename*=UTF-8''{quote(_file_name(wanted.path), safe='')}",
    }
    return StreamingResponse(_rest(first, found), media_type="application/octet-stream", headers=headers)


def _file_name(path: bytes) -> str:
    name = path.rpartition(b"/")[2].decode("utf-8", "replace")
    return "".join(character if character.isprintable() else "_" for character in name) or "file"


async def _rest(first: Any, found: AsyncIterator[Any]) -> AsyncIterator[bytes]:
    async with aclosing(found) as messages:  # type: ignore[type-var]
        if first is not None:
            yield first.data
        try:
            async for message in messages:
                yield message.data
        except CallFailed as error:
            raise BrokenOff from error
