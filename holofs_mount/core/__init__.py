# SPDX-License-Identifier: GPL-3.0-or-later
"""Core of a mount, by inode and asynchronous, the same for both bindings: caches, open files, content, recovery.

Imports `holofs_api`, the client, `write_behind`, and nothing of a binding. Called by the bindings; calls back to the
kernel's caches through `Kernel` only. Everything runs on one asyncio loop. Errors are OSError with the errno for the
program.
"""
