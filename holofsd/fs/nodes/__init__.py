# SPDX-License-Identifier: GPL-3.0-or-later
"""Edits of node states inside one transaction: drafts, the end of names, and the separation of conflicting names and
versions before an operation.

Imports `shared`.
"""
