# SPDX-License-Identifier: GPL-3.0-or-later
"""Membership changes: devices are removed, invited again with or without what they had, and given other roles.

The first device is always an admin. What a removed device wrote counts as far as the remover knew it, and the ledger
asks for no more.
"""

from __future__ import annotations

import asyncio

from holofsd.core.document import Role
from holofsd.core.errors import HoloError
from holofsd.core.ids import AuthorId
from holofsd.net.fake_weather import Weather
from model.checks import shown_by
from model.program import Step
from model.troubles import TROUBLES as OTHER_TROUBLES
from model.troubles import Trouble, Troubles

TRIES = 20
WHOLE_S = 900.0
"""Virtual seconds within which all are members again."""


class Membership(Troubles):
    former: set[AuthorId]
    """Authors of removed devices: how much of them a device holds depends on when it heard, and nothing else does."""

    def _admin(self, step: Step) -> int:
        """Admin of these two: the device of the step, or the first one."""
        device = self.devices[step.device]
        is_admin = device.is_up and device.sync.role == Role.ADMIN
        return step.device if is_admin and step.numbers[1] % 2 else 0

    def _other(self, step: Step) -> int:
        """Never the first one."""
        return 1 + step.numbers[0] % (len(self.devices) - 1)

    async def expel(self, step: Step) -> None:
        admin, number = self._admin(step), self._other(step)
        if admin == number or not self.devices[admin].is_up:
            return
        sync, device = self.devices[admin].sync, self.devices[number].id
        if not sync.members.is_member(device):
            return
        self._owe_no_more(admin, number)
        self.former |= {author for author, of in sync.membership.authors.items() if of == device}
        sync.remove_member(device)

    async def change_role(self, step: Step) -> None:
        admin, number = self._admin(step), self._other(step)
        if admin == number or not self.devices[admin].is_up:
            return
        sync, device = self.devices[admin].sync, self.devices[number].id
        role = (Role.READER, Role.WRITER, Role.ADMIN)[step.numbers[2] % 3]
        if sync.members.is_member(device):
            if role == Role.READER:
                self._owe_no_more(admin, number)
            sync.set_member(device, role)

    def _owe_no_more(self, admin: int, number: int) -> None:
        """Note that what that device writes from now on may not count; of what it wrote, what the admin has not heard
        of."""
        actor, knows = self.actors[number], shown_by(self.actors[admin]) | self.devices[admin].hidden()
        actor.muted = True
        for digest, where in self.ledger.acknowledged.items():
            if where.startswith(f"{self.devices[number].name} ") and digest not in knows:
                self.ledger.supersede(digest, f"{self.devices[number].name} was removed or made a reader")

    async def invite(self, step: Step) -> None:
        """A removed device joins again."""
        number = self._other(step)
        owner = self.devices[0]
        if not owner.is_up or owner.sync.role != Role.ADMIN:
            return  # a dishonest admin may have removed it
        if self.devices[number].is_up and not owner.sync.members.is_member(self.devices[number].id):
            await self.let_in(number, (Role.WRITER, Role.ADMIN)[step.numbers[1] % 2])

    def may_begin_afresh(self, _number: int) -> bool:
        """Whether a device that joins again may do so with nothing, as far as anybody owes what it has."""
        return True

    async def let_in(self, number: int, role: Role) -> None:
        await self.idle(number)
        device, actor, owner = self.devices[number], self.actors[number], self.devices[0]
        if not device.is_up or not owner.is_up:
            return
        # What only this device has would be missing for ever, and rightly so, if somebody needs it.
        others = [other for other in self.devices if other is not device]
        afresh = self.may_begin_afresh(number) and all(other.is_up and not other.unsettled() for other in others)
        weather, self.network.weather = self.network.weather, Weather()
        self.network.heal_all()
        device.life.fault = owner.life.fault = None
        if device.volume_id is not None:
            self.former |= set(device.store.own_authors())
        for _ in range(TRIES):
            try:
                await asyncio.create_task(device.join_again(owner, role, afresh=afresh), context=device.run())
                break
            except HoloError:
                await asyncio.sleep(1.0)
        else:
            raise AssertionError(f"{device.name} cannot join again")
        self.network.weather = weather
        self.since_backup.pop(number, None)
        actor.forget_mount()
        if afresh:
            actor.unlinked.clear()
            actor.remembers.clear()
        actor.muted = False

    async def make_whole(self) -> None:
        """Make every device a member that may write, and has heard so: also of changes that were still on their way."""
        owner, ends = self.devices[0].sync, self.loop_time() + WHOLE_S
        while not self.are_whole():
            self.repair()
            assert self.loop_time() < ends, (
                f"not all are members: {[device.sync.membership for device in self.devices]}"
            )
            for number, device in enumerate(self.devices):
                if number and not owner.members.is_member(device.id):
                    await self.let_in(number, Role.WRITER)
                elif number and owner.membership.roles[device.id] == Role.READER:
                    owner.set_member(device.id, Role.WRITER)
            await asyncio.sleep(0.25)

    def repair(self) -> None:
        """Put right what only the volume's key can."""

    def are_whole(self) -> bool:
        known = [device.sync.membership for device in self.devices]
        able = all(m.roles.get(device.id, Role.READER) != Role.READER for m in known for device in self.devices)
        return able and all(m.generations == known[0].generations for m in known)

    @staticmethod
    def loop_time() -> float:
        return asyncio.get_running_loop().time()


TROUBLES: dict[str, Trouble] = {
    **OTHER_TROUBLES,
    "expel": Membership.expel,  # type: ignore[dict-item]
    "invite": Membership.invite,  # type: ignore[dict-item]
    "change_role": Membership.change_role,  # type: ignore[dict-item]
}
MEMBERSHIP = ("expel", "invite", "change_role")
