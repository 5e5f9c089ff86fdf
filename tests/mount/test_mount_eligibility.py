# SPDX-License-Identifier: GPL-3.0-or-later
"""Operations that a mount acknowledges before the daemon ran them, and the reason for which each other one waits."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

import pytest

from holofs_api import PAST_INO
from holofs_api.v1 import filesystem_pb2 as pb
from holofs_mount.write_behind.eligibility import (
    MAX_UNSENT_CREATES,
    Conditions,
    Reason,
    close_must_wait,
    create_must_wait,
    mkdir_must_wait,
    rmdir_must_wait,
    set_attr_must_wait,
    unlink_must_wait,
)
from support.sources import ROOT

GOOD: Final = Conditions(
    connected=True,
    writable=True,
    only_mount=True,
    is_replaying=False,
    has_failed=False,
    at_limit=False,
    inode_leased=True,
    unsent_creates=0,
)
FILE: Final = pb.Attr(ino=7, kind=pb.KIND_FILE)
DIRECTORY: Final = pb.Attr(ino=8, kind=pb.KIND_DIRECTORY)
MODE: Final = pb.SetAttrRequest(ino=7, mode=0o600)

Operation = Callable[[Conditions], Reason | None]
OPERATIONS: Final[dict[str, Operation]] = {
    "create": lambda now: create_must_wait(now, name_is_free=True, opened_to_write=True),
    "close": lambda now: close_must_wait(now, only_handle=True, unlinked=False),
    "mkdir": lambda now: mkdir_must_wait(now, name_is_free=True),
    "unlink": lambda now: unlink_must_wait(now, 1, FILE, is_open=False),
    "rmdir": lambda now: rmdir_must_wait(now, 1, DIRECTORY, known_empty=True),
    "set_attr": lambda now: set_attr_must_wait(now, MODE, FILE),
}
# One condition of the mount that is not met, its reason, and the operations that wait for it.
CONDITIONS: Final = [
    (GOOD._replace(connected=False), Reason.DISCONNECTED, {*OPERATIONS}),
    (GOOD._replace(is_replaying=True), Reason.REPLAYING, {*OPERATIONS}),
    (GOOD._replace(has_failed=True), Reason.FAILED_OPERATIONS, {*OPERATIONS} - {"create"}),
    (GOOD._replace(at_limit=True), Reason.QUEUE_FULL, {*OPERATIONS} - {"create"}),
    (GOOD._replace(only_mount=False), Reason.OTHER_MOUNTS, {*OPERATIONS} - {"set_attr"}),
    (GOOD._replace(writable=False), Reason.READ_ONLY, {"close", "mkdir"}),
    (GOOD._replace(inode_leased=False), Reason.NO_LEASED_INODE, {"create", "mkdir"}),
    (GOOD._replace(unsent_creates=1), Reason.UNSENT_CREATES, {"unlink", "rmdir"}),
    (GOOD._replace(unsent_creates=MAX_UNSENT_CREATES - 1), Reason.TOO_MANY_UNSENT, set[str]()),
    (GOOD._replace(unsent_creates=MAX_UNSENT_CREATES), Reason.TOO_MANY_UNSENT, {"create"}),
]
# Reasons in the operation itself.
OWN_REASONS: Final = {
    Reason.NAME_NOT_KNOWN_FREE: {"create", "mkdir"},
    Reason.OPENED_TO_READ: {"create"},
    Reason.OTHER_HANDLES: {"close"},
    Reason.UNLINKED: {"close"},
    Reason.INODE_NOT_KNOWN: {"unlink", "rmdir", "set_attr"},
    Reason.WRONG_KIND: {"unlink", "rmdir", "set_attr"},
    Reason.OPEN_HERE: {"unlink"},
    Reason.NOT_KNOWN_EMPTY: {"rmdir"},
    Reason.PAST: {"unlink", "rmdir", "set_attr"},
    Reason.RESIZES: {"set_attr"},
}
# One fact about the operation itself.
FACTS: Final = [
    (create_must_wait(GOOD, name_is_free=False, opened_to_write=True), Reason.NAME_NOT_KNOWN_FREE),
    (create_must_wait(GOOD, name_is_free=True, opened_to_write=False), Reason.OPENED_TO_READ),
    (close_must_wait(GOOD, only_handle=False, unlinked=False), Reason.OTHER_HANDLES),
    (close_must_wait(GOOD, only_handle=True, unlinked=True), Reason.UNLINKED),
    (mkdir_must_wait(GOOD, name_is_free=False), Reason.NAME_NOT_KNOWN_FREE),
    (unlink_must_wait(GOOD, 1, None, is_open=False), Reason.INODE_NOT_KNOWN),
    (unlink_must_wait(GOOD, 1, DIRECTORY, is_open=False), Reason.WRONG_KIND),
    (unlink_must_wait(GOOD, 1, FILE, is_open=True), Reason.OPEN_HERE),
    (unlink_must_wait(GOOD, PAST_INO, FILE, is_open=False), Reason.PAST),
    (rmdir_must_wait(GOOD, 1, None, known_empty=True), Reason.INODE_NOT_KNOWN),
    (rmdir_must_wait(GOOD, 1, FILE, known_empty=True), Reason.WRONG_KIND),
    (rmdir_must_wait(GOOD, 1, DIRECTORY, known_empty=False), Reason.NOT_KNOWN_EMPTY),
    (rmdir_must_wait(GOOD, PAST_INO, DIRECTORY, known_empty=True), Reason.PAST),
    (set_attr_must_wait(GOOD, pb.SetAttrRequest(ino=7, size=0), FILE), Reason.RESIZES),
    (set_attr_must_wait(GOOD, pb.SetAttrRequest(ino=PAST_INO, mode=0), FILE), Reason.PAST),
    (set_attr_must_wait(GOOD, MODE, None), Reason.INODE_NOT_KNOWN),
    (set_attr_must_wait(GOOD, MODE, DIRECTORY), Reason.WRONG_KIND),
]


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_that_meets_all_criteria_waits_for_nothing(name: str) -> None:
    assert OPERATIONS[name](GOOD) is None


@pytest.mark.parametrize(("now", "reason", "waiting"), CONDITIONS)
def test_a_condition_of_the_mount_makes_these_operations_wait(
    now: Conditions, reason: Reason, waiting: set[str]
) -> None:
    waits = {name: operation(now) for name, operation in OPERATIONS.items()}
    assert {name for name, found in waits.items() if found is reason} == waiting


@pytest.mark.parametrize(("found", "reason"), FACTS)
def test_an_operation_waits_for_a_reason_of_its_own(found: Reason | None, reason: Reason) -> None:
    assert found is reason


def test_every_reason_can_be_met() -> None:
    assert {reason for _, reason, _ in CONDITIONS} | {reason for _, reason in FACTS} == set(Reason)


def test_the_manual_has_the_same_table() -> None:
    manual = (ROOT / "docs" / "write-behind.md").read_text()
    names = ("create", "close", "mkdir", "unlink", "rmdir", "set_attr")
    table = {}
    for row in re.findall(r"^\| `([A-Z_]+)`: (.*) \|$", manual, re.MULTILINE):
        marks = row[1].split("|")[-len(names) :]
        table[row[0]] = {name for name, mark in zip(names, marks, strict=True) if mark.strip()}
    waiting: dict[str, set[str]] = {reason.name: set() for reason in Reason}
    for _, reason, operations in CONDITIONS:
        waiting[reason.name] |= operations
    for reason, operations in OWN_REASONS.items():
        waiting[reason.name] |= operations
    assert table == waiting
