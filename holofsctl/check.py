# SPDX-License-Identifier: GPL-3.0-or-later
"""Result of a check of `holofsctl doctor`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Check:
    """`sentence`: what was found and, if it is not `fine`, what to do."""

    fine: bool
    subject: str
    sentence: str
