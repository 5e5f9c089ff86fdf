# SPDX-License-Identifier: GPL-3.0-or-later
"""Server reflection: a client that has no protos learns all of the API from the daemon, as grpcurl does."""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from holofs_api import API_VERSION
from holofs_api.v1 import control_pb2, errors_pb2, filesystem_pb2
from support.fake_device import FakeDevice


class Reflection:
    """The questions that grpcurl asks."""

    def __init__(self, channel: Any) -> None:
        self._call = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo()
        self.pool = DescriptorPool()
        self._known: set[str] = set()

    async def _ask(self, **question: str) -> Any:
        await self._call.write(reflection_pb2.ServerReflectionRequest(**question))
        reply = await self._call.read()
        assert not reply.HasField("error_response"), reply.error_response
        return reply

    async def services(self) -> set[str]:
        reply = await self._ask(list_services="")
        return {service.name for service in reply.list_services_response.service}

    async def learn(self, **question: str) -> None:
        """Adds the file that is asked for to the pool, after all that it needs."""
        reply = await self._ask(**question)
        for data in reply.file_descriptor_response.file_descriptor_proto:
            file = FileDescriptorProto.FromString(data)
            if file.name not in self._known:
                self._known.add(file.name)
                for name in file.dependency:
                    await self.learn(file_by_filename=name)
                self.pool.Add(file)


async def test_a_client_without_protos_learns_every_service_and_can_call_it(channel: Any, device: FakeDevice) -> None:
    reflection = Reflection(channel)
    services = await reflection.services()
    assert {"holofs.v1.Control", "holofs.v1.Filesystem", "grpc.health.v1.Health"} <= services
    for service in services:
        await reflection.learn(file_containing_symbol=service)
    for module in (control_pb2, filesystem_pb2):
        for name, known in module.DESCRIPTOR.services_by_name.items():
            found = reflection.pool.FindServiceByName(f"holofs.v1.{name}")
            assert [method.name for method in found.methods] == [method.name for method in known.methods]
            for method in found.methods:  # with the types of what is asked and answered
                assert GetMessageClass(method.input_type)() is not None
                assert GetMessageClass(method.output_type)() is not None

    method = reflection.pool.FindServiceByName("holofs.v1.Control").FindMethodByName("Handshake")
    request = GetMessageClass(method.input_type)(api_version=API_VERSION, program="a tool")
    call = channel.unary_unary(
        "/holofs.v1.Control/Handshake",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=GetMessageClass(method.output_type).FromString,
    )
    assert (await call(request)).pid == device.identity().pid


async def test_the_detail_of_errors_can_be_learned_too(channel: Any, device: FakeDevice) -> None:
    reflection = Reflection(channel)
    await reflection.learn(file_containing_symbol="holofs.v1.ErrorDetail")
    found = reflection.pool.FindMessageTypeByName("holofs.v1.ErrorDetail")
    assert [field.name for field in found.fields] == [field.name for field in errors_pb2.ErrorDetail.DESCRIPTOR.fields]
