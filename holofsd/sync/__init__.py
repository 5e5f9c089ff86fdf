# SPDX-License-Identifier: GPL-3.0-or-later
"""Synchronization of the devices that share a volume: publishing, sessions, ingest, content, members, invites.

`hub` is the entry: all volumes of this device on one endpoint. `volume` is one volume: it owns the tasks of
`publisher`, `merging`, `content` and `marks`, and its sessions. docs/protocol.md says what travels. Imports tree, net,
store, codec and core; called by fs, rpc and the composition root.
"""
