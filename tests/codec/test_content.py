# SPDX-License-Identifier: GPL-3.0-or-later
"""Content is named by BLAKE3."""

from __future__ import annotations

from holofsd.codec.content import hash_bytes


def test_content_has_the_name_that_the_blake3_specification_gives_it() -> None:
    assert hash_bytes(b"").hex() == "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
    assert hash_bytes(memoryview(b"abc")) == hash_bytes(bytearray(b"abc"))
