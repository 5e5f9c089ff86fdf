# SPDX-License-Identifier: GPL-3.0-or-later
"""The short form of the crash campaign (`scripts/soak crash SEED DURATION`): some rounds of it."""

from __future__ import annotations

from campaigns.crash import Campaign
from support.device import World


def test_what_fsync_promised_is_there_after_kills_at_fault_points_and_at_any_moment(world: World) -> None:
    with Campaign(world, seed=1, writers=1) as campaign:
        for point in (
            "writing.finalized",
            "hashing.known",
            "publishing.numbered",
            "receiving.merged",
            "mounting.started",
        ):
            campaign.kill_at(point)
        campaign.random_kill()
        campaign.check_all()
        assert campaign.reached.total() >= 4, f"only {campaign.reached} were reached"
