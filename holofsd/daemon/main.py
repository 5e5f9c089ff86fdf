# SPDX-License-Identifier: GPL-3.0-or-later
"""The console script `holofsd`: one device, in the foreground, until SIGTERM or SIGINT. Mounts go on without it.

Order of starting: arguments, lock, log, signals, and then what `composition` wires: stores, managers, servers, socket.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any, Final

# gRPC's fork handlers are for programs that fork; this one starts processes only by exec.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import structlog

from holofs_api.private_process import become_private
from holofs_api.settings import DAEMON_KEYS, ENVIRONMENT_ONLY, VARIABLES, add_options, options_told
from holofs_api.utf8 import require_utf8
from holofsd.core.errors import AlreadyRunning, BadConfiguration, HoloError
from holofsd.daemon import logging as log_setup
from holofsd.daemon import state_folder
from holofsd.daemon.activation import ActivationSockets
from holofsd.daemon.composition import running, settings_from
from holofsd.daemon.config import Config, read_config
from holofsd.daemon.device import Device
from holofsd.daemon.loop_watch import LoopWatch
from holofsd.daemon.service_manager import ServiceManager
from holofsd.store import faults
from holofsd.sync.config import PROGRAM

_log = structlog.get_logger(__name__)

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_ALREADY_RUNNING: Final = 6
EXIT_INTERRUPTED: Final = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 after an orderly end, 1 on a failure, 2 on wrong usage or configuration, 6 if one runs already."""
    if arguments is None:
        require_utf8("holofsd.daemon.main")
        become_private()
    told = build().parse_args(arguments)
    try:
        config = read_config(told.state_dir, told.detached, options=options_told(told))
        faults.arm_from(os.environ)
        state_folder.prepare(config.state)
        with state_folder.locked(config.state):
            log_setup.configure(config.log_file, config.log_level, console=not config.detached)
            asyncio.run(_run(config))
    except KeyboardInterrupt:  # before the loop listens to signals
        return EXIT_INTERRUPTED
    except AlreadyRunning as error:
        return _fail(error, EXIT_ALREADY_RUNNING)
    except BadConfiguration as error:
        return _fail(error, EXIT_USAGE)
    except HoloError as error:
        return _fail(error, EXIT_FAILED)
    except Exception as error:  # noqa: BLE001 - the process's outermost edge
        _log.critical("holofsd failed", exc_info=error)
        return _fail(error, EXIT_FAILED)
    return 0


def build() -> argparse.ArgumentParser:
    """The parser of `holofsd`."""
    parser = argparse.ArgumentParser(
        prog="holofsd",
        description="The HoloFS daemon of one device, in the foreground. `holofsctl up` starts it in the background.",
        epilog=f"Environment: {', '.join((*ENVIRONMENT_ONLY, *VARIABLES))}."
        " The settings file is config.toml in the state directory: `holofsctl config list` shows what counts.",
    )
    parser.add_argument("--state-dir", metavar="DIR", help="the device's state directory")
    add_options(parser, DAEMON_KEYS)
    parser.add_argument("--detached", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--version", action="version", version=PROGRAM)
    return parser


def _fail(error: Exception, code: int) -> int:
    sentence = error.message if isinstance(error, HoloError) else f"Internal error: {type(error).__name__}: {error}."
    if sys.stderr is not None:
        sys.stderr.write(f"holofsd: {sentence}\n")
    return code


async def _run(config: Config) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_unhandled)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    manager, activation = ServiceManager(os.environ), ActivationSockets(os.environ, config.state)
    watch = LoopWatch(loop)
    with watch.watching():
        async with running(config, stop, settings=settings_from(os.environ), watch=watch) as device, manager.told():
            with activation.answering():
                await _serve(device, stop)


async def _serve(device: Device, stop: asyncio.Event) -> None:
    _calm_collector()
    _log.info("holofsd is up", program=PROGRAM, device=device.identity().device_id, pid=os.getpid())
    await stop.wait()
    _log.info("holofsd stops")


def _calm_collector() -> None:
    """Excludes all loaded objects from collection, so that the collector need not walk through them again after every
    few hundred calls."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def _unhandled(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    error = context.get("exception")
    _log.error("an error reached the event loop", what=context.get("message"), exc_info=error)


if __name__ == "__main__":
    sys.exit(main())
