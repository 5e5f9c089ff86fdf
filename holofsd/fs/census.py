# SPDX-License-Identifier: GPL-3.0-or-later
"""Figures of a volume's tree for status."""

from __future__ import annotations

from holofsd.fs.mounts.journals import Journals
from holofsd.fs.shared.scope import Scope
from holofsd.fs.shared.staged import StagedFiles
from holofsd.fs.types import Census


def take_census(scope: Scope, staged: StagedFiles, journals: Journals) -> Census:
    found = scope.tree.census()
    missing_blobs, missing_bytes = scope.store.content.missing()
    ignored, ignored_bytes = scope.store.ignored.count()
    return Census(
        files=found.files,
        bytes=found.bytes,
        conflicts=found.conflicts,
        pending=found.pending,
        bad_names=found.bad_names,
        unfinalized=len(staged) + journals.waiting(),
        missing_blobs=missing_blobs,
        missing_bytes=missing_bytes,
        ignored=ignored,
        ignored_bytes=ignored_bytes,
    )
