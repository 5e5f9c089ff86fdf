# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks a volume on disk against what it is derived from, and repairs what has one right answer; never guesses.

Imports sync, tree, store, codec and core. Called by daemon, in a thread, on the closed directory of a volume or on a
copy of its index; nothing here knows a running volume.
"""
