# SPDX-License-Identifier: GPL-3.0-or-later
"""Metrics made of a snapshot: which there are, and that no name of another device spoils them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from holofsd.daemon.loop_watch import LAG_BOUNDS_S, LoopLag
from holofsd.daemon.metrics import families
from holofsd.daemon.metrics.exposition import Exposition
from holofsd.daemon.metrics.snapshot import Snapshot
from holofsd.rpc import device_api as api
from holofsd.rpc.history_api import HistoryStatus
from holofsd.rpc.traffic_api import PauseInfo, TrafficStatus
from support.metrics import DASHBOARD, Scrape, documented, in_alerts, in_dashboard, parsed

ALL, DOCS, B = PauseInfo(), PauseInfo("docs", until_ms=5500), PauseInfo("", "b", f"{1:064x}", 7000)
TRAFFIC = TrafficStatus((DOCS, B), down=0, up=1000, sent_bytes=100, received_bytes=200)
LAG = LoopLag((0,) * 3 + (2,) + (0,) * (len(LAG_BOUNDS_S) - 4) + (1,), 42.5, 1.5)


def safety(name: str, number: int = 1, **more: object) -> api.DeviceSafety:
    return replace(api.DeviceSafety(f"{number:064x}", name, True, True, 5000, 3, -7500), **more)


def snapshot(*devices: api.DeviceSafety, volume: str = "docs", state: str = "ready") -> Snapshot:
    summary = api.VolumeSummary("00" * 32, volume, None, state)
    lies = (api.LieSummary("", "", "one", 2, 0, 0, ""), api.LieSummary("", "", "two", 3, 0, 0, ""))
    status = api.VolumeStatus(
        summary, files=7, devices=devices, history=HistoryStatus(0, 0, 0, 11, 12, 13), lies=lies, damaged=1
    )
    space = api.SpaceStatus(1, 2, 3, True, 4, 5, 6)
    peers = (api.PeerSummary(f"{1:064x}", "b", True, sent_bytes=60, received_bytes=70, seconds_left=80),)
    return Snapshot((status,), ("up", "up", "down"), space, TRAFFIC, peers, 0.25)


def told(found: Snapshot | None) -> Scrape:
    return parsed(Exposition().text(found, LAG).decode())


def test_figures_are_those_of_the_snapshot() -> None:
    found = told(snapshot(safety("b"), safety("c", 2, complete=False, connected=False), safety("d", 3, left=True)))
    assert found.of("holofs_volume_files", volume="docs") == 7
    assert found.of("holofs_volume_lies", volume="docs") == 5
    assert [found.of(f"holofs_volume_{what}_bytes", volume="docs") for what in ("history", "trash", "garbage")] == [
        *(11, 12, 13)
    ]
    assert found.of("holofs_volume_devices", volume="docs") == 2
    assert found.of("holofs_volume_complete_devices", volume="docs") == 1
    assert found.of("holofs_device_clock_ahead_seconds", volume="docs", device="b") == -7.5
    assert found.of("holofs_device_complete_timestamp_seconds", volume="docs", device="c") == 5
    assert found.of("holofs_device_complete", volume="docs", device="c") == 0
    with pytest.raises(KeyError):  # not connected: nothing is known of its clock
        found.of("holofs_device_clock_ahead_seconds", volume="docs", device="c")
    with pytest.raises(KeyError):
        found.of("holofs_device_complete", volume="docs", device="d")
    assert [found.of("holofs_mounts", state=state) for state in families.MOUNT_STATES] == [2, 0, 1]
    assert found.of("holofs_network_received_bytes_total") == 200
    assert found.of("holofs_writing_refused") == 1


def test_what_a_device_lacks_is_told_where_it_is_known() -> None:
    found = told(snapshot(safety("b", to_send=api.ToSend(3, 4000, 2, False)), safety("c", 2)))
    assert found.of("holofs_device_lacking_files", volume="docs", device="b") == 3
    assert found.of("holofs_device_lacking_bytes", volume="docs", device="b") == 4000
    with pytest.raises(KeyError):  # it does not say what it holds: 0 would be a statement
        found.of("holofs_device_lacking_files", volume="docs", device="c")


def test_pauses_and_limits_are_told_with_their_ends_and_what_went_to_each_device() -> None:
    found = told(snapshot())
    assert (found.of("holofs_paused"), found.of("holofs_background_waits")) == (0, 0)
    assert found.of("holofs_volume_paused", volume="docs") == found.of("holofs_device_paused", device="b") == 1
    assert found.of("holofs_volume_paused_until_timestamp_seconds", volume="docs") == 5.5
    assert found.of("holofs_device_paused_until_timestamp_seconds", device="b") == 7
    assert found.of("holofs_device_sent_bytes_total", device="b") == 60
    assert found.of("holofs_device_received_bytes_total", device="b") == 70
    assert found.of("holofs_device_left_seconds", device="b") == 80
    assert found.of("holofs_limit_bytes_per_second", direction="sending") == 1000
    for name, labels in (
        ("holofs_limit_bytes_per_second", {"direction": "fetching"}),  # 0 would say that nothing may come
        ("holofs_paused_until_timestamp_seconds", {}),
    ):
        with pytest.raises(KeyError):
            found.of(name, **labels)
    until_resumed = told(replace(snapshot(), traffic=replace(TRAFFIC, pauses=(ALL,))))
    assert until_resumed.of("holofs_paused") == 1
    assert until_resumed.of("holofs_volume_paused", volume="docs") == 0
    with pytest.raises(KeyError):
        until_resumed.of("holofs_paused_until_timestamp_seconds")


def test_the_lag_of_the_loop_is_a_histogram_of_all_looks() -> None:
    found = told(snapshot())
    assert found.of("holofs_loop_lag_seconds_bucket", le="0.005") == 0
    assert found.of("holofs_loop_lag_seconds_bucket", le="0.01") == 2
    assert found.of("holofs_loop_lag_seconds_bucket", le="30.0") == 2
    assert found.of("holofs_loop_lag_seconds_bucket", le="+Inf") == 3
    assert found.of("holofs_loop_lag_seconds_count") == 3
    assert found.of("holofs_loop_lag_seconds_sum") == 42.5
    assert found.of("holofs_loop_blocked_seconds") == 1.5


def test_a_loop_that_gives_nothing_has_all_names_and_no_figures() -> None:
    found = told(None)
    assert found.kinds == told(snapshot()).kinds
    assert found.of("holofs_snapshot_success") == 0
    assert found.of("holofs_loop_blocked_seconds") == 1.5
    assert {name for name, _ in found.samples if name.startswith("holofs_volume")} == set()


@pytest.mark.parametrize("state", ["joining", "damaged"])
def test_nothing_is_said_of_a_volume_that_is_not_open_but_its_state(state: str) -> None:
    found = told(snapshot(state=state))
    assert found.of("holofs_volume_state", volume="docs", state=state) == 1
    assert found.of("holofs_volume_state", volume="docs", state="ready") == 0
    assert {name for name, _ in found.samples if name.startswith("holofs_volume")} == {"holofs_volume_state"}


NASTY = ('a"} 1\nb{c="', "new\nline\\", "\\n", "", "é" * 300, "\udcff", "laptop", "laptop", f"{1:064x}", f"{2:064x} 2")


def test_names_of_others_make_no_series_twice_and_no_line_more() -> None:
    found = told(snapshot(*(safety(name, number) for number, name in enumerate(NASTY)), volume='v"\n\udcff'))
    named = {dict(labels)["device"] for name, labels in found.samples if name == "holofs_device_connected"}
    assert len(named) == len(NASTY)
    assert {"laptop (00000000)", 'a"} 1\nb{c="', "\\udcff", f"{3:064x}"} <= named
    assert all(len(name) <= families.MOST_LABEL for name in named)


def test_devices_that_never_came_do_not_take_the_place_of_others() -> None:
    made_up = [safety("x", number, connected=False, complete_as_of_ms=0) for number in range(2000)]
    found = told(snapshot(*made_up, safety("zoo", 5000)))
    named = {dict(labels)["device"] for name, labels in found.samples if name == "holofs_device_connected"}
    assert len(named) == families.MOST_DEVICES
    assert "zoo" in named
    assert found.of("holofs_volume_devices", volume="docs") == 2001


def test_the_page_and_the_dashboard_name_what_there_is() -> None:
    """`tests/e2e/test_metrics.py` compares them with a real daemon; this says so sooner."""
    found = told(snapshot(safety("b", to_send=api.ToSend(1, 1, 1, False))))
    of_ours = {name: (kind, found.labels[name]) for name, kind in found.kinds.items() if name.startswith("holofs_")}
    assert {name: said for name, said in documented().items() if name.startswith("holofs_")} == of_ours
    assert in_alerts() <= {*of_ours}
    assert {name for name in in_dashboard() if name.startswith("holofs_")} == {*of_ours}
    assert "${datasource}" in DASHBOARD.read_text()
