# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line: a client of `holofs.v1.Control`, and of nothing else.

`parser` says which commands there are, `commands/` runs them, `client` talks to the daemon, `launcher` starts and stops
it, `output` prints, `exit_codes` is what scripts rely on. Imports holofs_api only; the daemon is a separate process.
"""

from __future__ import annotations

import os

# gRPC's own remarks about sockets and forks would land on the person's standard error.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
