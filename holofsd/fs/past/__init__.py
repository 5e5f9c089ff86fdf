# SPDX-License-Identifier: GPL-3.0-or-later
"""The past of a volume: files as they were, history and trash, restoring, and how long all of it is kept.

Imports `content`, `nodes` and `shared`.
"""
