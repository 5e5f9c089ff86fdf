# SPDX-License-Identifier: GPL-3.0-or-later
"""Sentences that campaigns expect in the logs of what they kill are still those that the programs write."""

from __future__ import annotations

import pytest

from campaigns import soak, victim
from support.sources import ROOT

PROGRAMS = ("holofsd", "holofs_mount", "proto/holofs_api")


@pytest.mark.parametrize("expected", [victim.EXPECTED_LOG, soak.EXPECTED_LOG], ids=["crash", "soak"])
def test_each_sentence_that_is_expected_is_one_of_a_program(expected: list[str]) -> None:
    sources = "\n".join(path.read_text() for folder in PROGRAMS for path in (ROOT / folder).rglob("*.py"))
    sentences = [words for expression in expected for words in expression.split("|") if " " in words]
    assert sentences
    # "timed out" is what the network says.
    assert [words for words in sentences if words not in sources and words != "timed out"] == []
