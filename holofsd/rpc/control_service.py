# SPDX-License-Identifier: GPL-3.0-or-later
"""holofs.v1.Control: what a person can ask of this device."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from holofs_api import API_VERSION
from holofs_api.handshake import mismatch
from holofs_api.mount_access import Allow
from holofs_api.v1 import control_pb2 as pb
from holofsd.core.document import Role
from holofsd.core.errors import BadArgument, VersionMismatch
from holofsd.rpc.browsing_calls import BrowsingCalls
from holofsd.rpc.convert import needed, to_message
from holofsd.rpc.device_api import DeviceService, FsckOrders, MountOptions, Resolution
from holofsd.rpc.history_calls import HistoryCalls
from holofsd.rpc.safety_calls import CareCalls
from holofsd.rpc.settings_calls import SettingsCalls
from holofsd.rpc.traffic_calls import TrafficCalls
from holofsd.rpc.transfer_calls import TransferCalls
from holofsd.rpc.watching_calls import WatchingCalls

Context = Any


def _role(number: int) -> Role:
    try:
        return Role(number)
    except ValueError:
        raise BadArgument("A role is reader, writer or admin.") from None


def _allow(told: str) -> Allow:
    try:
        return Allow(told)
    except ValueError:
        raise BadArgument("A mount can be opened to `root` or to `other` users.") from None


class ControlService(BrowsingCalls, HistoryCalls, CareCalls, SettingsCalls, TrafficCalls, TransferCalls, WatchingCalls):
    """holofs.v1.Control over gRPC: validate, call the device, convert."""

    _device: DeviceService

    def __init__(self, device: DeviceService) -> None:
        self._device = device

    async def Handshake(self, request: pb.HandshakeRequest, context: Context) -> pb.HandshakeReply:
        sentence = mismatch(request.api_version, request.program, self._device.identity().program)
        if sentence is not None:
            raise VersionMismatch(sentence)
        await self._device.caught_up()
        me = self._device.identity()
        return pb.HandshakeReply(api_version=API_VERSION, program=me.program, device_id=me.device_id, pid=me.pid)

    async def Status(self, request: pb.StatusRequest, context: Context) -> pb.StatusReply:
        return to_message(await self._device.status(request.volume), pb.StatusReply)

    async def CreateVolume(self, request: pb.CreateVolumeRequest, context: Context) -> pb.Volume:
        return to_message(await self._device.create_volume(needed(request.name, "The volume's name")), pb.Volume)

    async def Share(self, request: pb.ShareRequest, context: Context) -> pb.ShareReply:
        volume = needed(request.volume, "The volume")
        if request.expires_seconds < 0:
            raise BadArgument("An invite cannot expire before it is made.")
        role, reuse = _role(request.role), request.reuse
        shared = await self._device.share(volume, role, request.uses, request.expires_seconds, reuse)
        return to_message(shared, pb.ShareReply)

    async def Join(self, request: pb.JoinRequest, context: Context) -> AsyncIterator[pb.JoinProgress]:
        ticket = needed(request.ticket.strip(), "The ticket")
        async with aclosing(self._device.join(ticket, request.name, request.no_wait)) as steps:  # type: ignore[type-var]
            async for step in steps:
                yield to_message(step, pb.JoinProgress)

    async def ListVolumes(self, request: pb.ListVolumesRequest, context: Context) -> pb.ListVolumesReply:
        volumes = await self._device.list_volumes()
        return pb.ListVolumesReply(volumes=[to_message(volume, pb.Volume) for volume in volumes])

    async def Leave(self, request: pb.LeaveRequest, context: Context) -> pb.LeaveReply:
        return pb.LeaveReply(kept_at=await self._device.leave(needed(request.volume, "The volume"), request.delete))

    async def Members(self, request: pb.MembersRequest, context: Context) -> pb.MembersReply:
        members = await self._device.members(needed(request.volume, "The volume"))
        return pb.MembersReply(members=[to_message(member, pb.Member) for member in members])

    async def SetMember(self, request: pb.SetMemberRequest, context: Context) -> pb.Member:
        volume, device = needed(request.volume, "The volume"), needed(request.device, "The device")
        role = None if request.remove else _role(request.role)
        if role is not None and (request.keep_invites or request.undo):
            raise BadArgument("Only with `remove` can invites be kept, or be undone what a device did.")
        member = await self._device.set_member(volume, device, role, request.keep_invites, request.undo)
        return to_message(member, pb.Member)

    async def Mount(self, request: pb.MountRequest, context: Context) -> pb.MountInfo:
        volume, path = needed(request.volume, "The volume"), needed(request.path, "The path")
        if request.at_ms < 0:
            raise BadArgument("Nothing was at such a time.")
        options = MountOptions(
            read_only=request.read_only,
            binding=request.binding,
            remember=not request.no_remember,
            at_ms=request.at_ms,
            allow=_allow(request.allow),
            no_exec=request.no_exec,
        )
        return to_message(await self._device.mount(volume, path, options), pb.MountInfo)

    async def DeviceName(self, request: pb.DeviceNameRequest, context: Context) -> pb.DeviceNameReply:
        name = await self._device.device_name(request.name if request.HasField("name") else None)
        return pb.DeviceNameReply(name=name, device_id=self._device.identity().device_id)

    async def Unmount(self, request: pb.UnmountRequest, context: Context) -> pb.UnmountReply:
        detached = await self._device.unmount(needed(request.path, "The path"), request.force)
        return pb.UnmountReply(detached=detached)

    async def RestoreMounts(self, request: pb.RestoreMountsRequest, context: Context) -> pb.RestoreMountsReply:
        mounts = await self._device.restore_mounts()
        return pb.RestoreMountsReply(mounts=[to_message(mount, pb.MountInfo) for mount in mounts])

    async def Peers(self, request: pb.PeersRequest, context: Context) -> pb.PeersReply:
        return pb.PeersReply(peers=[to_message(peer, pb.Peer) for peer in await self._device.peers()])

    async def Conflicts(self, request: pb.ConflictsRequest, context: Context) -> pb.ConflictsReply:
        conflicts = await self._device.conflicts(request.volume, request.path)
        return pb.ConflictsReply(conflicts=[to_message(conflict, pb.Conflict) for conflict in conflicts])

    async def Resolve(self, request: pb.ResolveRequest, context: Context) -> AsyncIterator[pb.SettledConflict]:
        if not request.all:
            needed(request.volume, "The volume")
        asked = Resolution(request.volume, request.path, request.all, request.keep, request.device, request.id)
        async with aclosing(self._device.resolve(asked)) as steps:  # type: ignore[type-var]
            async for step in steps:
                yield to_message(step, pb.SettledConflict)

    async def ReadAlternative(
        self, request: pb.ReadAlternativeRequest, context: Context
    ) -> AsyncIterator[pb.ReadAlternativeReply]:
        volume = needed(request.volume, "The volume")
        async with aclosing(self._device.read_alternative(volume, request.path, request.id)) as pieces:  # type: ignore[type-var]
            async for data in pieces:
                yield pb.ReadAlternativeReply(data=data)

    async def Wait(self, request: pb.WaitRequest, context: Context) -> AsyncIterator[pb.WaitProgress]:
        volume, copies = needed(request.volume, "The volume"), max(1, request.copies)
        steps = self._device.wait(volume, copies, request.timeout_seconds)
        async with aclosing(steps):  # type: ignore[type-var]
            async for step in steps:
                yield to_message(step, pb.WaitProgress)

    # ---- taking a share back
    async def Invites(self, request: pb.InvitesRequest, context: Context) -> pb.InvitesReply:
        invites = await self._device.invites(needed(request.volume, "The volume"))
        return pb.InvitesReply(invites=[to_message(invite, pb.Invite) for invite in invites])

    async def RevokeInvite(self, request: pb.RevokeInviteRequest, context: Context) -> pb.RevokeInviteReply:
        volume, invite = needed(request.volume, "The volume"), needed(request.invite, "The invite")
        revoked = await self._device.revoke_invite(volume, invite)
        return pb.RevokeInviteReply(revoked=[to_message(invite, pb.Invite) for invite in revoked])

    async def Recovery(self, request: pb.RecoveryRequest, context: Context) -> pb.RecoveryReply:
        return pb.RecoveryReply(
            code=await self._device.recovery_code(needed(request.volume, "The volume"), request.forget)
        )

    async def Recover(self, request: pb.RecoverRequest, context: Context) -> pb.Volume:
        code, sources = needed(request.code.strip(), "The recovery code"), tuple(request.sources)
        return to_message(await self._device.recover(code, request.name, sources), pb.Volume)

    async def Fsck(self, request: pb.FsckRequest, context: Context) -> pb.FsckReply:
        orders = FsckOrders(request.repair, request.from_backup, request.content)
        if orders.from_backup:
            needed(request.volume, "The volume")
        volumes = await self._device.fsck(request.volume, orders)
        device = None if request.volume else to_message(await self._device.fsck_device(), pb.FsckVolume)
        return pb.FsckReply(volumes=[to_message(volume, pb.FsckVolume) for volume in volumes], device=device)

    async def Shutdown(self, request: pb.ShutdownRequest, context: Context) -> pb.ShutdownReply:
        await self._device.shutdown(request.unmount)
        return pb.ShutdownReply()
