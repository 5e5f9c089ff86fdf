# SPDX-License-Identifier: GPL-3.0-or-later
"""Test whether a client and a daemon can talk: both sides check, and a mismatch is refused in one sentence."""

from __future__ import annotations

from holofs_api import API_VERSION


class ApiMismatchError(Exception):
    """Client and daemon speak different versions of `holofs.v1`; the text is for a person."""


def mismatch(theirs: int, program: str, us: str, ours: int = API_VERSION) -> str | None:
    """Sentence for a person where the other side (`program`) speaks `theirs`, or None where both can talk.

    `us`: the side that checks, by name and version: the other side's program shows the sentence, too.
    """
    if theirs == ours:
        return None
    name = program or "the other side"
    older, newer = (name, us) if theirs < ours else (us, name)
    return (
        f"{name} speaks version {theirs} of the HoloFS API and {us} version {ours}: "
        f"upgrade {older} to match {newer}, then run `holofsctl down` and `holofsctl up`."
    )


def check(theirs: int, program: str, us: str, ours: int = API_VERSION) -> None:
    """Raises ApiMismatchError, with one sentence, unless both speak the same version."""
    sentence = mismatch(theirs, program, us, ours)
    if sentence is not None:
        raise ApiMismatchError(sentence)
