# SPDX-License-Identifier: GPL-3.0-or-later
"""Journals of mounts in tests: the calls in them, as a mount writes and sends them."""

from __future__ import annotations

import os
from pathlib import Path

from holofs_api.journal import record
from holofs_api.v1 import filesystem_pb2 as pb
from holofsd.core.ids import ROOT_INO, Ino
from holofsd.fs.types import AttachRequest
from holofsd.rpc.dispatch import Dispatcher
from holofsd.rpc.fs_calls import Caller
from tests.fs.harness import Device, Program

TIME = 1_600_000_000_123_456_789
NAME = "0123456789abcdef" * 2


def attach(device: Device, mount_id: str = "journalled", pid: int | None = None) -> Program:
    request = AttachRequest("test", mount_id, "/mnt", os.getpid() if pid is None else pid, False, (), NAME)
    return Program(device, device.fs.attach(request))


def create(ino: int, name: bytes, data: bytes = b"promised", parent: int = ROOT_INO) -> pb.CallRequest:
    return pb.CallRequest(
        create=pb.CreateRequest(
            parent=parent, name=name, mode=0o640, ino=ino, data=data, mtime_ns=TIME, ctime_ns=TIME + 1
        )
    )


def mkdir(ino: int, name: bytes, parent: int = ROOT_INO) -> pb.CallRequest:
    return pb.CallRequest(make_dir=pb.MakeDirRequest(parent=parent, name=name, mode=0o750, ino=ino))


def unlink(ino: int, name: bytes, parent: int = ROOT_INO) -> pb.CallRequest:
    return pb.CallRequest(unlink=pb.UnlinkRequest(parent=parent, name=name, ino=ino))


def rmdir(ino: int, name: bytes, parent: int = ROOT_INO) -> pb.CallRequest:
    return pb.CallRequest(remove_dir=pb.UnlinkRequest(parent=parent, name=name, ino=ino))


def chmod(ino: int, mode: int) -> pb.CallRequest:
    return pb.CallRequest(set_attr=pb.SetAttrRequest(ino=ino, mode=mode))


def journal(mount: Program) -> Path:
    return Path(mount.att.journal)


def write(path: Path, *calls: pb.CallRequest, first: int = 1) -> None:
    path.write_bytes(
        b"".join(record(number, call.SerializeToString()) for number, call in enumerate(calls, start=first))
    )


def say(device: Device, mount: Program, number: int, call: pb.CallRequest, *, late: bool = False) -> pb.CallReply:
    """Send a call as it comes on the lane."""
    said = pb.CallRequest()
    said.CopyFrom(call)
    said.number, said.late = number, late
    reply = Dispatcher(Caller(device.fs, mount.att), lambda reply: None, lambda: None).begin(said)
    assert reply is not None
    return reply


def lease(mount: Program) -> Ino:
    return mount.fs.lease(mount.att)[0]


def restarted(device: Device) -> None:
    device.restart()


def attached_again(device: Device) -> None:
    attach(device)
