# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages between devices, and the records that the index keeps: `v1/peer.proto` and the generated code beside it.

Imports nothing of ours; imported by holofsd alone. docs/protocol.md says how the messages are used.
"""
