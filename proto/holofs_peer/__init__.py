# SPDX-License-Identifier: GPL-3.0-or-later
"""What devices say to each other, and what the index keeps of it: `v1/peer.proto` and the generated code beside it.

Imports nothing of ours; imported by holofsd alone. docs/protocol.md says how the messages are used.
"""
