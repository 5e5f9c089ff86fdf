# SPDX-License-Identifier: GPL-3.0-or-later
"""Decisions as pure functions on frozen dataclasses: states, join, projection, membership.

No I/O, no asyncio, no clock, no protobuf, no gRPC. Imports nothing of ours; everything else in holofsd imports it.
"""
