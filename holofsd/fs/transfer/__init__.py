# SPDX-License-Identifier: GPL-3.0-or-later
"""Imports and exports: many files taken into a volume in batches, and the listing of a volume for who copies it out.

Imports `content`, `nodes` and `shared`.
"""
