# SPDX-License-Identifier: GPL-3.0-or-later
"""Echoes: programs that watch a folder by inotify hear of changes from elsewhere
(docs/adr/0013-watchers-hear-echoes.md).

The kernel makes inotify events for operations of programs alone. So a small process of the mount repeats a change on
the mount's own path, and the mount answers that operation without doing anything. Imports the core; the binding calls
it.
"""
