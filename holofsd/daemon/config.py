# SPDX-License-Identifier: GPL-3.0-or-later
"""Configuration of this device, from its settings (`holofs_api/settings.py`) and the command line of the daemon."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from holofs_api.device_names import fitting_name
from holofs_api.paths import socket_path, state_dir
from holofs_api.setting_kinds import Value
from holofs_api.state_directory import StateDirError
from holofsd.core.errors import BadConfiguration, StateDirUnusable
from holofsd.daemon.settings import DeviceSettings
from holofsd.net.api import Discovery, NetConfig


@dataclass(frozen=True, slots=True)
class Config:
    """Configuration of the daemon as it starts."""

    state: Path
    device_name: str
    """Of a device that has no name yet."""
    net: NetConfig = field(default_factory=NetConfig)
    log_level: str = "info"
    detached: bool = False
    """Started by `holofsctl up`: logs to the file only."""
    metrics_port: int | None = None
    """Where metrics are served on the loopback addresses; 0: on any free port, None: nowhere."""
    settings: DeviceSettings | None = None
    """Where the rest comes from; without it all settings have their defaults."""

    @property
    def socket(self) -> Path:
        return socket_path(self.state)

    @property
    def log_file(self) -> Path:
        return self.state / "log" / "holofsd.log"


def read_config(
    explicit_state: str | None,
    detached: bool,
    environment: Mapping[str, str] = os.environ,
    options: Mapping[str, Value] | None = None,
) -> Config:
    """Raises BadConfiguration with the name of the variable, or the line of the file, that makes no sense."""
    state = read_state_dir(explicit_state)
    settings = DeviceSettings(state, options or {}, environment)
    return Config(
        state=state,
        device_name=settings.text("device.name") or fitting_name(socket.gethostname().split(".")[0]),
        net=NetConfig(
            bind=settings.text("network.bind"),
            discovery=Discovery(settings.text("network.discovery")),
            relays=settings.urls("network.relays"),
            allowed_relays=settings.urls("network.allowed_relays"),
        ),
        log_level=settings.text("log.level"),
        detached=detached,
        settings=settings,
        metrics_port=_port(settings.text("metrics.port")),
    )


def read_state_dir(explicit: str | None) -> Path:
    """Raises BadConfiguration, StateDirUnusable."""
    try:
        return state_dir(explicit)
    except StateDirError as error:
        raise (BadConfiguration if error.usage else StateDirUnusable)(error.message) from None


def _port(text: str) -> int | None:
    return int(text) if text else None
