# SPDX-License-Identifier: GPL-3.0-or-later
"""Write-behind: operations that a mount acknowledges to a program before the daemon ran them (docs/write-behind.md).

`eligibility` decides which operations may be acknowledged early, `queue` sends them in program order, `journal` keeps
them on disk until the daemon has answered, `creates` holds new files that the daemon has not heard of, `retry` is the
one loop that repeats what was acknowledged, `assembly` puts the parts of one mount together.

Imports `holofs_api` and `holofs_mount.patience`, never the core, the client or a binding. Called by the core; calls the
client and the mount's caches through protocols. Everything runs on one asyncio loop.
"""
