# SPDX-License-Identifier: GPL-3.0-or-later
"""Configuration of this device as the environment gives it."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from holofs_api.paths import socket_path, state_dir
from holofs_api.state_directory import StateDirError
from holofsd.core.errors import BadArgument, BadConfiguration, StateDirUnusable
from holofsd.daemon.names import MAX_DEVICE_NAME, check_device_name
from holofsd.net.api import ANY_RELAY, Discovery, NetConfig

_LEVELS: Final = ("debug", "info", "warning", "error")
METRICS_PORT: Final = "HOLOFS_METRICS_PORT"
"""Variable with the port on which metrics are served."""


@dataclass(frozen=True, slots=True)
class Config:
    """Settings of the daemon, from its environment and command line."""

    state: Path
    device_name: str
    """Of a device that has no name yet."""
    net: NetConfig = field(default_factory=NetConfig)
    log_level: str = "info"
    detached: bool = False
    """Started by `holofsctl up`: logs to the file only."""
    metrics_port: int | None = None
    """Where metrics are served on the loopback addresses; 0: on any free port, None: nowhere."""

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
    metrics_port: str | None = None,
) -> Config:
    """Reads the environment; `metrics_port`, of the command line, goes before it. Raises BadConfiguration with the name
    of the option or variable that makes no sense."""
    level = environment.get("HOLOFS_LOG", "info").lower()
    if level not in _LEVELS:
        raise BadConfiguration(f"HOLOFS_LOG is {level!r}; it can be {', '.join(_LEVELS)}.")
    return Config(
        state=read_state_dir(explicit_state),
        device_name=_device_name(environment),
        net=NetConfig(
            bind=_bind(environment.get("HOLOFS_BIND", "")),
            discovery=_discovery(environment.get("HOLOFS_DISCOVERY", "default")),
            relays=_relays("HOLOFS_RELAYS", environment),
            allowed_relays=_relays("HOLOFS_ALLOWED_RELAYS", environment, or_any=True),
        ),
        log_level=level,
        detached=detached,
        metrics_port=_metrics_port(metrics_port, environment),
    )


def read_state_dir(explicit: str | None) -> Path:
    """Raises BadConfiguration, StateDirUnusable."""
    try:
        return state_dir(explicit)
    except StateDirError as error:
        raise (BadConfiguration if error.usage else StateDirUnusable)(error.message) from None


def _device_name(environment: Mapping[str, str]) -> str:
    name = environment.get("HOLOFS_DEVICE_NAME") or socket.gethostname().split(".")[0] or "device"
    plain = "".join(c for c in name if c.isprintable() and c != "/").strip()[:MAX_DEVICE_NAME].strip() or "device"
    try:
        return check_device_name(plain)
    except BadArgument:  # a container's: twelve digits of its id
        return f"device-{plain}"[:MAX_DEVICE_NAME].strip()


def _bind(text: str) -> str:
    if not text:
        return ""
    address, separator, port = text.rpartition(":")
    try:
        ipaddress.ip_address(address.strip("[]"))
        good = bool(separator) and port.isascii() and port.isdigit() and int(port) < 65536
    except ValueError:
        good = False
    if not good:
        raise BadConfiguration(f"HOLOFS_BIND is {text!r}; it has to be an address and a port, like 127.0.0.1:0.")
    return text


def _metrics_port(option: str | None, environment: Mapping[str, str]) -> int | None:
    """Empty means off, so that an option can switch off what the environment asks for."""
    told = environment.get(METRICS_PORT, "") if option is None else option
    if not told:
        return None
    if told.isascii() and told.isdigit() and len(told) <= 5 and int(told) < 65536:
        return int(told)
    source = METRICS_PORT if option is None else "--metrics-port"
    raise BadConfiguration(f"{source} is {told!r}; it has to be a port, or 0 for any that is free.")


def _discovery(text: str) -> Discovery:
    try:
        return Discovery(text)
    except ValueError:
        raise BadConfiguration(f"HOLOFS_DISCOVERY is {text!r}; it can be none or default.") from None


def _relays(variable: str, environment: Mapping[str, str], *, or_any: bool = False) -> tuple[str, ...]:
    urls = tuple(url.strip() for url in environment.get(variable, "").split(",") if url.strip())
    for url in urls:
        if not url.startswith(("https://", "http://")) and not (or_any and url == ANY_RELAY):
            raise BadConfiguration(f"{variable} has {url!r}, which is not a URL.")
    return urls
