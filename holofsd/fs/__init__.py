# SPDX-License-Identifier: GPL-3.0-or-later
"""Filesystem of a volume as a mount asks for it: operations on nodes, open files, staging and finalizing, and the
stream of changes.

`filesystem` composes one volume of the rooms: shared, nodes, changes, content, names, past, mounts; each imports only
rooms before it. `api` and `types` are the contract, which is all that rpc sees.

Imports sync, tree, store, codec and core. Called by rpc and daemon.
"""
