# SPDX-License-Identifier: GPL-3.0-or-later
"""The daemon: owns the Iroh node, the document replicas, the content store and the index of one device.

Layers, each importing only what is below it: daemon -> rpc -> fs -> sync -> tree -> (net, store) -> codec -> core.
"""
