# SPDX-License-Identifier: GPL-3.0-or-later
"""A client of the API (docs/api.md): lists the volumes, writes a file and reads it back, without a mount.

python examples/files.py SOCKET VOLUME NAME
"""

import sys

import grpc

from holofs_api import API_VERSION
from holofs_api.v1 import control_pb2, control_pb2_grpc, filesystem_pb2, filesystem_pb2_grpc


def main(socket: str, volume: str, name: str) -> None:
    with grpc.insecure_channel(f"unix:{socket}") as channel:
        control = control_pb2_grpc.ControlStub(channel)
        for found in control.ListVolumes(control_pb2.ListVolumesRequest()).volumes:
            print(f"volume {found.name}: {found.state}")

        files = filesystem_pb2_grpc.FilesystemStub(channel)
        hello = filesystem_pb2.AttachRequest(api_version=API_VERSION, program="example 1.0", volume=volume)
        me = files.Attach(hello)
        attachment = [("holofs-attachment", me.attachment)]  # goes with every call from here on

        create = filesystem_pb2.CreateRequest(parent=me.root, name=name.encode(), mode=0o644, truncate=True, handle=1)
        made = files.Create(create, metadata=attachment)
        text = filesystem_pb2.CommitRequest(handle=1, data=b"Hello from the API.\n", release=True)
        files.Commit(text, metadata=attachment)

        files.Open(filesystem_pb2.OpenRequest(ino=made.attr.ino, handle=2), metadata=attachment)
        read = files.Read(filesystem_pb2.ReadRequest(handle=2, length=1 << 20), metadata=attachment)
        files.Release(filesystem_pb2.ReleaseRequest(handle=2), metadata=attachment)
        print(f"{name}: {read.data.decode()}", end="")


if __name__ == "__main__":
    main(*sys.argv[1:])
