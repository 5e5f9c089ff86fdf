# SPDX-License-Identifier: GPL-3.0-or-later
"""The name of content: BLAKE3 of the whole of it."""

from __future__ import annotations

from blake3 import blake3

from holofsd.core.ids import BlobHash


def hash_bytes(data: bytes | bytearray | memoryview) -> BlobHash:
    return BlobHash(blake3(data).digest())
