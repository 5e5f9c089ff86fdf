# SPDX-License-Identifier: GPL-3.0-or-later
"""Mount of one volume: a process between the kernel (FUSE) and the daemon (gRPC over a Unix socket).

`main` is the program, `client` the connection to the daemon, `core` the operations, the same for both bindings,
`write_behind` the operations that are acknowledged before the daemon ran them (docs/write-behind.md),
`pyfuse3_binding` and `fusepy_binding` thin adapters to libfuse. Imports `holofs_api`, never `holofsd`.
"""

from __future__ import annotations

import os

# Before grpc is imported: its C core remarks on standard error on every connection that a daemon closes.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
