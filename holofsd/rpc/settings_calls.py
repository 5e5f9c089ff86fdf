# SPDX-License-Identifier: GPL-3.0-or-later
"""The part of holofs.v1.Control that is about settings."""

from __future__ import annotations

from typing import Any

from holofs_api.v1 import control_pb2 as pb
from holofs_api.v1.control_pb2_grpc import ControlServicer
from holofsd.rpc.convert import to_message
from holofsd.rpc.settings_api import SettingsService

Context = Any


class SettingsCalls(ControlServicer):
    """Calls of Control about settings."""

    _device: SettingsService

    async def Settings(self, request: pb.SettingsRequest, context: Context) -> pb.SettingsReply:
        return to_message(await self._device.settings(request.reload), pb.SettingsReply)
