# SPDX-License-Identifier: GPL-3.0-or-later
"""Metrics for Prometheus: what is exported (`families`), from what (`snapshot`), as text (`exposition`), and to whom
(`server`). `composition` starts it where a person asked for a port, and imports it only then: prometheus-client takes
its time. docs/metrics.md describes every metric."""
