# SPDX-License-Identifier: GPL-3.0-or-later
"""Log of the daemon: JSON lines in log/holofsd.log, rotated, and the console when in the foreground.

Secrets are taken out of every event on its way, whoever logged it: tickets and recovery codes by their shape,
other secrets by their name.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import MutableMapping
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any, Final

import structlog

HIDDEN: Final = "<hidden>"
_TICKET: Final = re.compile(r"holofs1[a-z2-7]{16,}|holofs-?recovery-?1[a-z2-7-]{16,}", re.IGNORECASE)
_SECRET_NAMES: Final = frozenset({"ticket", "secret", "seed", "key", "password", "token", "invite", "private"})
_ROTATE_AT: Final = 8 << 20
_KEPT: Final = 3
_SHOWN_BYTES: Final = 16

Event = MutableMapping[str, Any]


def redact(_logger: Any, _method: str, event: Event) -> Event:
    """A processor: replaces secrets, and shortens bytes to hex."""
    for name, value in event.items():
        event[name] = HIDDEN if _is_secret(name) else _clean(value)
    return event


def _is_secret(name: str) -> bool:
    return not _SECRET_NAMES.isdisjoint(name.lower().split("_"))


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return _TICKET.sub(HIDDEN, value)
    if isinstance(value, bytes | bytearray):
        return bytes(value[:_SHOWN_BYTES]).hex()
    if isinstance(value, dict):
        return {name: HIDDEN if _is_secret(str(name)) else _clean(item) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(item) for item in value]
    return value if isinstance(value, int | float | bool | None) else _TICKET.sub(HIDDEN, str(value))


def configure(log_file: Path | None, level: str, console: bool) -> None:
    """Sets up structlog and the standard library's logging alike, so that both end in the same places, redacted."""
    _adjust(level)
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.format_exc_info,
        redact,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=_Adjustable,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handlers: list[logging.Handler] = []
    if log_file is not None:
        handlers.append(_file_handler(log_file, shared))
    if console:
        handlers.append(_console_handler(shared))
    logging.basicConfig(handlers=handlers, level=_number(level), force=True)
    # Libraries say at INFO and DEBUG what only their authors need.
    for noisy in ("asyncio", "grpc", "iroh", "hypothesis"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def set_level(level: str) -> None:
    """Changes how much is logged from now on."""
    _adjust(level)
    logging.getLogger().setLevel(_number(level))


class _Adjustable(structlog.make_filtering_bound_logger(logging.DEBUG)):  # type: ignore[misc]
    """Logger of every module. Each keeps this class for good (`cache_logger_on_first_use`), so its methods change."""


def _adjust(level: str) -> None:
    for name, method in vars(structlog.make_filtering_bound_logger(_number(level))).items():
        if not name.startswith("__"):
            setattr(_Adjustable, name, method)


def _number(level: str) -> int:
    return logging.getLevelNamesMapping()[level.upper()]


def _file_handler(log_file: Path, shared: list[Any]) -> logging.Handler:
    log_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handler = RotatingFileHandler(log_file, maxBytes=_ROTATE_AT, backupCount=_KEPT, encoding="utf-8")
    handler.setFormatter(_formatter(structlog.processors.JSONRenderer(default=str), shared))
    return handler


def _console_handler(shared: list[Any]) -> logging.Handler:
    handler = logging.StreamHandler(sys.stderr)
    colours = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    handler.setFormatter(_formatter(structlog.dev.ConsoleRenderer(colors=colours), shared))
    return handler


def _formatter(renderer: Any, shared: list[Any]) -> logging.Formatter:
    return structlog.stdlib.ProcessorFormatter(
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer], foreign_pre_chain=shared
    )
