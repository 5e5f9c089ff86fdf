# SPDX-License-Identifier: GPL-3.0-or-later
"""Codecs between core values and bytes: protocol buffers, signatures, tickets, content hashes.

Imports core and the generated `holofs_peer`; store, net and everything above import it. What comes from outside is
checked here, once. Whatever the bytes, a decoder returns a valid value or raises `Refused`; tickets raise
`TicketInvalid`.
"""
