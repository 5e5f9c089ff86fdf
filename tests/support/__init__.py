# SPDX-License-Identifier: GPL-3.0-or-later
"""Helpers for tests: devices made of real processes, waiting with a deadline, comparing trees, reading our own sources.

Imports the contract and the standard library; nothing here is shipped.
"""
