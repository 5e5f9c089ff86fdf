# SPDX-License-Identifier: GPL-3.0-or-later
"""Metrics as a scraper gets them, and as docs/metrics.md and the dashboard name them."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from support.sources import ROOT

PAGE = ROOT / "docs" / "metrics.md"
DASHBOARD = ROOT / "docs" / "grafana-dashboard.json"
_NAME = re.compile(r"\b(?:holofs|process)_[a-z_]+\b")
_PARTS = ("_bucket", "_count", "_sum")
"""What a histogram adds to its name."""


@dataclass(frozen=True, slots=True)
class Scrape:
    kinds: dict[str, str]
    """Type of each metric, by the name that a query has."""
    labels: dict[str, set[str]]
    samples: dict[tuple[str, frozenset[tuple[str, str]]], float]

    def of(self, name: str, **labels: str) -> float:
        return self.samples[name, frozenset(labels.items())]


def parsed(text: str) -> Scrape:
    """Fails where two samples have the same name and labels: Prometheus refuses such an answer."""
    found = Scrape({}, {}, {})
    for family in text_string_to_metric_families(text):
        name = family.name + ("_total" if family.type == "counter" else "")
        found.kinds[name] = family.type
        found.labels[name] = set()
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            assert key not in found.samples, key
            found.samples[key] = sample.value
            found.labels[name] |= {*sample.labels} - {"le"}
    return found


def scrape(port: int, host: str = "127.0.0.1") -> Scrape:
    with urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=30) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        return parsed(answer.read().decode())


def documented() -> dict[str, tuple[str, set[str]]]:
    """Type and labels of each metric of the page."""
    rows = [
        line.split("|")[1:-1] for line in PAGE.read_text().splitlines() if line.startswith(("| `holofs_", "| `proc"))
    ]
    told = {row[0].strip(" `"): (row[1].strip(), _labels(row[3])) for row in rows}
    assert len(told) == len(rows)
    assert all(len(row) == 5 for row in rows)
    return told


def _labels(cell: str) -> set[str]:
    """Names before a colon; behind it are the values of the last one."""
    return set(re.findall(r"`(\w+)`", cell.partition(":")[0]))


def in_alerts() -> set[str]:
    """Names in the rules of the page."""
    return set(_NAME.findall("".join(re.findall(r"^ +expr: (.*)$", PAGE.read_text(), re.MULTILINE))))


def in_dashboard() -> set[str]:
    """Names in the queries of the dashboard, without what a histogram adds to its name."""
    dashboard = json.loads(DASHBOARD.read_text())
    names = {name for query in _queries(dashboard) for name in _NAME.findall(query)}
    return {next((name.removesuffix(part) for part in _PARTS if name.endswith(part)), name) for name in names}


def _queries(dashboard: dict[str, list[dict[str, list[dict[str, str]]]]]) -> Iterator[str]:
    for panel in dashboard["panels"]:
        yield from (target["expr"] for target in panel.get("targets", []))
