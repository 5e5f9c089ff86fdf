# SPDX-License-Identifier: GPL-3.0-or-later
"""The network as HoloFS needs it: identified connections that carry streams of frames, and what keeps them up.

`api` is the interface everybody programs against; `iroh_endpoint` (the only module that imports iroh) and `fake`
implement it; `peers` keeps one connection to each wanted device. Imports `core` only; `sync` and the composition root
call it.
"""
