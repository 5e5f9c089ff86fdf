# SPDX-License-Identifier: GPL-3.0-or-later
"""Cost of one filesystem call on its way, without mount and without volume: fast lane against gRPC's stream.

    python -m benchmarks.calls [--calls N]

Processor time of both processes, not elapsed time, so that a busy machine does not decide. The daemon's side is the
real server with a filesystem behind it that does nothing, in a process of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import structlog

from holofs_api import API_VERSION
from holofs_api.paths import calls_socket_beside
from holofs_api.v1 import filesystem_pb2 as pb
from holofs_mount.session import DaemonSession, attach
from holofsd.rpc.server import serving
from support.fake_device import FakeDevice
from support.wait import until

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_TOGETHER: Final = 16


async def serve(socket: Path) -> None:
    device: Any = FakeDevice()
    async with serving(device, socket):
        await asyncio.Event().wait()


def _spent(pid: int) -> float:
    """Seconds of processor time."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


async def _call(session: DaemonSession, count: int) -> None:
    for _ in range(count):
        await session.begin("lookup", pb.LookupRequest(parent=1, name=b"some-name.txt"))


async def measure(socket: Path, server: int, calls: int, together: int) -> str:
    """Microseconds per call: this process (the mount's side), the server's, and elapsed."""
    hello = pb.AttachRequest(api_version=API_VERSION, volume="docs", mount_id="m")
    session = await attach(socket, hello, lambda change: None)
    try:
        await _call(session, 200)
        began, ours, theirs = time.perf_counter(), time.process_time(), _spent(server)
        await asyncio.gather(*(_call(session, calls // together) for _ in range(together)))
        found = (time.process_time() - ours, _spent(server) - theirs, time.perf_counter() - began)
    finally:
        await session.close()
    return "  ".join(f"{seconds / calls * 1e6:9.0f}" for seconds in found)


async def compare(socket: Path, server: int, calls: int) -> None:
    print(f"{'µs per call':32} {'mount':>9}  {'daemon':>9}  {'elapsed':>9}")
    for lane in ("fast lane", "gRPC stream"):
        if lane == "gRPC stream":
            calls_socket_beside(socket).unlink()  # the session finds no fast lane then
        for together in (1, _TOGETHER):
            print(f"{lane + f', {together} in flight':32} {await measure(socket, server, calls, together)}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.calls")
    parser.add_argument("--calls", type=int, default=8000)
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    told = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    if told.serve:
        asyncio.run(serve(told.serve))
        return 0
    with tempfile.TemporaryDirectory(prefix="hfs-calls-") as folder:
        socket = Path(folder) / "holofsd.sock"
        server = subprocess.Popen([sys.executable, "-m", "benchmarks.calls", "--serve", str(socket)])
        try:
            until(socket.exists, "the server to listen", seconds=60)
            asyncio.run(compare(socket, server.pid, told.calls))
        finally:
            server.kill()
            server.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
