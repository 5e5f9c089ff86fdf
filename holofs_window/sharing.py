# SPDX-License-Identifier: GPL-3.0-or-later
"""Tickets for the page, each with its QR code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from holofs_api.plain import BadDocument, filled, plain
from holofs_api.v1 import control_pb2 as pb
from holofs_window.control_client import CallFailed, ControlClient


async def share(daemon: ControlClient, data: Mapping[str, Any]) -> dict[str, Any]:
    """A new ticket, with `qr`: the rows of its QR code, a 1 for each dark square. Raises CallFailed."""
    try:
        request = filled(pb.ShareRequest, data)
    except BadDocument as error:
        raise CallFailed("bad-argument", str(error)) from None
    reply = await daemon.call("Share", request)
    return {**plain(reply), "qr": qr_rows(reply.ticket)}


def qr_rows(ticket: str) -> list[str]:
    """Rows of the QR code of a ticket, without a border."""
    import qrcode  # takes its time, for who shares

    code = qrcode.QRCode(border=0)
    code.add_data(ticket.upper())  # such text takes a third less room, and tickets do not tell case apart
    code.make(fit=True)
    return ["".join("1" if dark else "0" for dark in row) for row in code.get_matrix()]
