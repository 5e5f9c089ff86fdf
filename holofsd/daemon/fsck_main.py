# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m holofsd.daemon.fsck_main`: fsck on the state directory of a device whose daemon does not run.

Started by `holofsctl fsck`; writes a `holofs.v1.FsckReply` to standard output, or one sentence to standard error.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import structlog

from holofs_api.private_process import become_private
from holofs_api.v1 import control_pb2 as pb
from holofsd.codec.signing import SigningKey
from holofsd.core.errors import AlreadyRunning, HoloError, VolumeUnknown
from holofsd.core.ids import DeviceId
from holofsd.daemon import state_folder
from holofsd.daemon.config import read_state_dir
from holofsd.daemon.fsck import check_closed
from holofsd.daemon.fsck_device import DAMAGED, check_device_closed, open_device_store
from holofsd.daemon.main import EXIT_ALREADY_RUNNING, EXIT_FAILED
from holofsd.daemon.volumes import READY
from holofsd.rpc.convert import to_message
from holofsd.rpc.device_api import FsckOrders
from holofsd.store import faults


def main(arguments: Sequence[str] | None = None) -> int:
    told = _parser().parse_args(arguments)
    if arguments is None:
        become_private()
    # Standard output is for the answer alone.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    orders = FsckOrders(told.repair, told.from_backup, told.content)
    try:
        faults.arm_from(os.environ)
        reply = check(read_state_dir(told.state_dir), told.name, orders)
    except AlreadyRunning as error:
        return _fail(error.message, EXIT_ALREADY_RUNNING)
    except HoloError as error:
        return _fail(error.message, EXIT_FAILED)
    except (OSError, sqlite3.Error) as error:
        return _fail(f"The check could not go on: {error}.", EXIT_FAILED)
    sys.stdout.buffer.write(reply.SerializeToString())
    return 0


def check(state: Path, name: str, orders: FsckOrders) -> pb.FsckReply:
    state_folder.require(state)
    reply = pb.FsckReply()
    with state_folder.locked(state):
        device = DeviceId(SigningKey(state_folder.device_seed(state)).public)
        if not name:
            told = check_device_closed(state, device, orders.repair)
            reply.device.CopyFrom(to_message(told, pb.FsckVolume))
            if any(finding.outcome == "fixable" and finding.code == DAMAGED for finding in told.findings):
                return reply  # which volumes there are is not known
        with closing(open_device_store(state)) as store:
            rows = [row for row in store.volumes() if row.state == READY and name in ("", row.name, row.id.hex())]
        if name and not rows:
            raise VolumeUnknown(f"This device has no volume {name!r} that is whole enough to be checked.")
        for row in rows:
            found = check_closed(row, state / "volumes" / row.id.hex(), device, orders)
            reply.volumes.append(to_message(found, pb.FsckVolume))
    return reply


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="fsck", description="Checks a closed state directory; see holofsctl fsck.")
    parser.add_argument("--state-dir", required=True)
    for option in ("--repair", "--from-backup", "--content"):
        parser.add_argument(option, action="store_true")
    parser.add_argument("name", nargs="?", default="")
    return parser


def _fail(sentence: str, code: int) -> int:
    sys.stderr.write(sentence + "\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
