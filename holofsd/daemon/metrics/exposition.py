# SPDX-License-Identifier: GPL-3.0-or-later
"""Text for Prometheus, made by prometheus-client of a snapshot, of the watch over the loop, and of /proc."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from holofs_api import VERSION
from holofsd.daemon.loop_watch import LAG_BOUNDS_S, LoopLag
from holofsd.daemon.metrics import families
from holofsd.daemon.metrics.families import Family, Sample
from holofsd.daemon.metrics.snapshot import Snapshot

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class Exposition:
    """Export of everything, from several sources, as one text."""

    def __init__(self) -> None:
        self._of_process = ProcessCollector(registry=None)

    def text(self, snapshot: Snapshot | None, lag: LoopLag | None) -> bytes:
        """`snapshot` None: the loop did not give one; there are the names of its metrics then, and no figures. `lag`
        None: nothing watches the loop."""
        registry = CollectorRegistry()
        registry.register(_Metrics([*_of_device(snapshot), *_of_loop(lag), *_of_snapshot(snapshot)]))
        registry.register(self._of_process)
        return generate_latest(registry)


class _Metrics(Collector):
    def __init__(self, metrics: Sequence[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def _of_device(snapshot: Snapshot | None) -> Iterator[Metric]:
    of_device, of_volume, of_other = families.device_samples, families.volume_samples, families.other_samples
    for one in families.DEVICE:
        yield _family(one, (), of_device(one, snapshot) if snapshot else ())
    for volume in families.VOLUME:
        yield _family(volume, ("volume",), of_volume(volume, snapshot) if snapshot else ())
    for other in families.OTHER:
        yield _family(other, ("volume", "device"), of_other(other, snapshot) if snapshot else ())
    for paused in families.PAUSED_VOLUME:
        yield _family(paused, ("volume",), families.paused_volume_samples(paused, snapshot) if snapshot else ())
    for paused in families.PAUSED_DEVICE:
        yield _family(paused, ("device",), families.paused_device_samples(paused, snapshot) if snapshot else ())
    for peer in families.PEER:
        yield _family(peer, ("device",), families.peer_samples(peer, snapshot) if snapshot else ())
    yield _family(families.LIMITS, ("direction",), families.limit_samples(snapshot) if snapshot else ())
    states = families.state_samples(snapshot) if snapshot else ()
    yield _family(families.VOLUME_STATE, ("volume", "state"), states)
    yield _family(families.MOUNTS, ("state",), families.mount_samples(snapshot) if snapshot else ())


def _family(family: Family[families.T], labels: Sequence[str], samples: Iterable[Sample]) -> Metric:
    kind = CounterMetricFamily if family.is_counter else GaugeMetricFamily
    metric = kind(family.name, family.text, labels=labels)
    for values, figure in samples:
        metric.add_metric(values, figure)
    return metric


def _of_loop(lag: LoopLag | None) -> Iterator[Metric]:
    delays = HistogramMetricFamily("holofs_loop_lag_seconds", "How late the daemon's loop was, a look a second.")
    blocked = GaugeMetricFamily("holofs_loop_blocked_seconds", "How late it is now; 0 while it turns.", labels=())
    if lag is not None:
        bounds = [*map(str, LAG_BOUNDS_S), "+Inf"]
        delays.add_metric((), list(zip(bounds, itertools.accumulate(lag.counts), strict=True)), lag.total)
        blocked.add_metric((), lag.blocked)
    yield delays
    yield blocked


def _of_snapshot(snapshot: Snapshot | None) -> Iterator[Metric]:
    text = "1 if the daemon's loop gave its figures in time; without them most metrics have no value."
    taken = GaugeMetricFamily("holofs_snapshot_success", text, labels=())
    taken.add_metric((), snapshot is not None)
    yield taken
    yield InfoMetricFamily("holofs_build", "The program that runs.", value={"version": VERSION})
