# SPDX-License-Identifier: GPL-3.0-or-later
"""Filesystem of a volume as a mount asks for it: operations on nodes, open files, staging and sealing, and the stream
of changes.

Imports sync, tree, store, codec and core. Called by rpc and daemon.
"""
