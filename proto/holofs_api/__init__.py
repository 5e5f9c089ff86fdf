# SPDX-License-Identifier: GPL-3.0-or-later
"""The contract between the daemon and its local clients (mounts, command line).

`v1/` holds the protobuf sources of package `holofs.v1` and the generated code beside them. The modules here are the
little code written by hand that both sides share: where the socket is, how an error travels, who can talk to whom.
Imports nothing of ours; imported by holofsd, holofs_mount and holofsctl, and by programs of others, which can install
it alone (`proto/pyproject.toml`).
"""

from __future__ import annotations

from typing import Final

VERSION: Final = "0.1.0"
"""Version of HoloFS. The package's metadata is made from it, so that no program has to read files to know it."""
PAST_INO: Final = 1 << 62
"""Inode numbers from here on mean something of the past, which nobody can change."""
API_VERSION: Final = 1
"""Version that handshakes compare; a mismatch is refused in one sentence (`handshake`). `holofs.v1` only grows, so this
is 1 for all of it (docs/api.md)."""
