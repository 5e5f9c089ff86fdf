# SPDX-License-Identifier: GPL-3.0-or-later
"""Devices that share a volume come to hold the same, however they meet."""

from __future__ import annotations

from pathlib import Path

from tests.sync.devices import devices, settled, share, until


async def test_what_one_device_writes_is_on_the_other(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        await share(ann, bob)
        ann.mkdir("docs")
        ann.write("docs/small", b"hello")
        ann.write("docs/large", b"x" * 1_000_000)
        await until(lambda: bob.files().get("docs/large"))
        await settled(ann, bob)
        assert bob.files() == {"docs/": b"", "docs/small": b"hello", "docs/large": b"x" * 1_000_000}
