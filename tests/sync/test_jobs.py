# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs of content: a device that is given none now knows how long it need not look again."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hypothesis import given
from hypothesis import strategies as st

from holofsd.core.ids import BlobHash, DeviceId
from holofsd.sync.jobs import HEDGE_REST, NO_LIMIT, Asker, Job, Jobs

ANN, BOB, EVE = (DeviceId(name.encode() * 32) for name in "abe")
NOW = 100.0
TIMES = st.integers(60, 140).map(float)
DEVICES = st.sampled_from([ANN, BOB, EVE])


def taken(jobs: Jobs, asker: Asker, now: float) -> list[Job]:
    found = jobs.take(replace(asker, now=now), 10, 1000, 100)
    for job in found:
        del job.takers[asker.device]
    return found


@dataclass(frozen=True)
class Drawn:
    """One job: its size at least, and times of devices by the loop."""

    least: int
    urgent: bool
    since: float
    came_at: float
    waiters: int
    not_from: dict[DeviceId, float]
    takers: dict[DeviceId, float]

    def add(self, jobs: Jobs, number: int) -> None:
        job = jobs.add(BlobHash(bytes([number]) * 32), self.least, 200, self.urgent, now=self.since)
        job.came_at, job.waiters = self.came_at, self.waiters
        job.not_from, job.takers = dict(self.not_from), dict(self.takers)


PAST = st.integers(60, int(NOW)).map(float)
JOBS = st.builds(
    Drawn,
    st.integers(1, 200),
    st.booleans(),
    PAST,
    PAST,
    st.integers(0, 1),
    st.dictionaries(DEVICES, TIMES),
    st.dictionaries(DEVICES, PAST),
)


@given(
    st.lists(JOBS, max_size=3),
    st.lists(st.sampled_from([BOB, EVE]), unique=True),
    st.sampled_from([100, NO_LIMIT]),
    st.booleans(),
    st.booleans(),
)
async def test_nothing_is_given_before_that_time(
    drawn: list[Drawn], better: list[DeviceId], room: int, urgent_only: bool, limited: bool
) -> None:
    jobs = Jobs()
    for number, each in enumerate(drawn):
        each.add(jobs, number)
    asker = Asker(ANN, NOW, room, better, urgent_only, limited)
    if taken(jobs, asker, NOW):
        return
    when = jobs.when(asker)
    first = next((later for later in range(int(NOW) + 1, 200) if taken(jobs, asker, later)), None)
    if first is not None:
        assert when is not None
        assert when <= first


async def test_a_device_without_jobs_need_not_look_again() -> None:
    assert Jobs().when(Asker(ANN, NOW)) is None


async def test_a_job_is_looked_at_when_the_device_may_be_asked_for_it_or_another_one_was_slow() -> None:
    jobs = Jobs()
    job = jobs.add(BlobHash(b"h" * 32), 1, 1, urgent=False, now=NOW)
    job.not_from[ANN] = NOW + 3
    assert jobs.when(Asker(ANN, NOW)) == NOW + 3
    job.takers[BOB] = NOW
    assert jobs.when(Asker(ANN, NOW)) == NOW + HEDGE_REST
    assert jobs.when(Asker(ANN, NOW, urgent_only=True)) is None
