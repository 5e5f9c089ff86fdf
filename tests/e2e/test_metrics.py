# SPDX-License-Identifier: GPL-3.0-or-later
"""Metrics of a real daemon, compared with the page, the dashboard and `status`."""

from __future__ import annotations

import socket
import time

from support import metrics
from support.device import World
from support.metrics import Scrape
from support.wait import until

NOT_IN_THE_DASHBOARD = {"process_virtual_memory_bytes", "process_open_fds", "process_max_fds"}


def complete(found: Scrape) -> Scrape:
    devices = [figure for (name, _), figure in found.samples.items() if name == "holofs_device_complete"]
    assert devices == [1]
    return found


def limited(found: Scrape) -> Scrape:
    paused = [figure for (name, _), figure in found.samples.items() if name == "holofs_device_paused"]
    assert paused == [1]
    return found


def test_metrics_are_what_the_page_says_and_what_status_says(world: World) -> None:
    a, b = world.device("a"), world.device("b")
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        a.environment["HOLOFS_METRICS_PORT"], b.environment["HOLOFS_METRICS_PORT"] = "0", str(taken)
        b.allowed.append("metrics are not served")
        a.allowed.append("metrics are served without figures")  # while it starts on a busy machine
        a.up()
        b.up()
    a.create()
    b.join(a.share())
    folder = a.mount()
    (folder / "secret.txt").write_bytes(b"x" * 100_000)
    until(lambda: a.volume_status()["devices"][0]["complete"] and a.is_settled(), "b to have it")
    port = a.status()["metrics_port"]
    assert f'"port": {port}' in a.log_tail(1000)
    # A page is good for a second, or for longer where making it took long.
    found = until(lambda: complete(metrics.scrape(port)), "a page that was made since")

    told = metrics.documented()
    # Labels of what is there while something is paused and limited come with a second page.
    a.ctl("limit", "--down", "1G", "--up", "2G")
    a.ctl("pause", "docs", "--for", "2h")
    a.ctl("pause", "--device", "b", "--for", "1h")
    later = until(lambda: limited(metrics.scrape(port)), "a page with the limits")
    exported = {name: (kind, found.labels[name] | later.labels[name]) for name, kind in found.kinds.items()}
    # The time that is left has no value where nothing is: whether a page was made meanwhile is chance.
    kind, labels = exported["holofs_device_left_seconds"]
    assert labels <= {"device"}
    exported["holofs_device_left_seconds"] = (kind, {"device"})
    assert exported == told
    assert later.of("holofs_limit_bytes_per_second", direction="sending") == 2 << 30
    assert 0 < later.of("holofs_device_paused_until_timestamp_seconds", device="b") - time.time() < 3600
    assert later.of("holofs_volume_paused", volume="docs") == 1
    assert found.of("holofs_device_sent_bytes_total", device="b") > 100_000
    a.ctl("resume")
    assert metrics.in_alerts() <= {*told}
    assert metrics.in_dashboard() == {*told} - NOT_IN_THE_DASHBOARD

    said, volume = a.status(), a.volume_status()
    assert found.of("holofs_volume_files", volume="docs") == volume["files"] == 1
    assert found.of("holofs_volume_size_bytes", volume="docs") == volume["bytes"] == 100_000
    assert found.of("holofs_volume_complete_devices", volume="docs") == 1
    assert found.of("holofs_volume_state", volume="docs", state="ready") == 1
    assert found.of("holofs_device_connected", volume="docs", device="b") == 1
    assert found.of("holofs_network_sent_bytes_total") > 100_000
    assert found.of("holofs_mounts", state="up") == 1
    assert found.of("holofs_disk_reserve_bytes") == said["space"]["reserve_bytes"]
    assert found.of("holofs_snapshot_success") == 1
    assert 0 < found.of("process_resident_memory_bytes") < 4 * said["resident_bytes"]

    text = repr(found)
    for secret in ("secret.txt", str(folder), str(a.state), a.device_id(), b.device_id(), volume["volume"]["id"]):
        assert secret not in text

    # The port of b is another program's: it works without metrics, and says so.
    without = b.status()
    assert without["metrics_port"] == 0
    assert any(f"Port {taken} cannot be used" in warning for warning in without["warnings"])
