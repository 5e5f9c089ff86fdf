# SPDX-License-Identifier: GPL-3.0-or-later
"""A content goes only if a person replaced or removed it where it was seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hypothesis import given, settings

from holofsd.core.edit import split_id
from holofsd.core.ids import NodeId
from holofsd.core.project import base_of_conflict_name
from holofsd.core.state import Kind
from support.model import Shown, meet
from tests.core.programs import PROGRAMS, Step, start


def contents(tree: Mapping[bytes, Shown]) -> set[bytes]:
    return {shown.content for shown in tree.values() if shown.kind is Kind.FILE and shown.content is not None}


@settings(max_examples=25)
@given(PROGRAMS)
def test_what_nobody_ended_is_shown_in_the_end(program: Sequence[Step]) -> None:
    devices = start()
    written: set[bytes] = set()
    ended: set[bytes] = set()
    for step in program:
        device = devices[step.device % 3]
        before = device.tree()
        step.run(devices, unique=True)
        after = device.tree()
        written |= contents(after)
        if step.operation != "meet":
            gone = contents(before) - contents(after)
            assert len(gone) <= (step.operation in ("write", "unlink", "replace")), "one operation ends one content"
            ended |= gone
    meet(*devices)
    for device in devices:
        assert written - ended <= contents(device.tree())


@settings(max_examples=20)
@given(PROGRAMS)
def test_an_operation_changes_no_other_file(program: Sequence[Step]) -> None:
    """Acting on a name leaves every other file where it was, with what was in it, conflict copies included. A copy may
    get the name that became free, and a directory that was removed elsewhere goes with the last that was in it."""
    devices = start()
    for step in program:
        device = devices[step.device % 3]
        before = files(device.tree())
        step.run(devices, unique=True)
        if step.operation in ("write", "unlink"):
            changed = before ^ files(device.tree())
            assert len({node for node, _path, _content in changed}) <= 1, changed


def files(tree: Mapping[bytes, Shown]) -> set[tuple[NodeId, bytes, bytes | None]]:
    """A conflict copy counts as having the name that it is a copy of, and as the file that it becomes when it parts."""
    found: set[tuple[NodeId, bytes, bytes | None]] = set()
    for path, shown in tree.items():
        if shown.kind is Kind.FILE:
            node = split_id(shown.node, shown.dot) if shown.dot else shown.node
            found.add((node, base_of_conflict_name(path) or path, shown.content))
    return found
