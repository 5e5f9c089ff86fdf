# SPDX-License-Identifier: GPL-3.0-or-later
"""Counters of what goes over the network."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Traffic:
    """Bytes of frames with other devices since an endpoint was bound, over all its connections. What QUIC adds
    (encryption, acknowledgements, what is sent again) and signs of life are not in it."""

    sent: int = 0
    received: int = 0
