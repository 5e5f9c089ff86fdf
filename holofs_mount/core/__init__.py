# SPDX-License-Identifier: GPL-3.0-or-later
"""What a mount does, by inode and asynchronously, whatever the binding: caches, open files, content, recovery.

Imports `holofs_api`, the client, and nothing of a binding. Called by the bindings; calls back to the kernel's caches
through `Kernel` only. Everything runs on one asyncio loop. Errors are OSError with the errno for whoever asked.
"""
