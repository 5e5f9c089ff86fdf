# SPDX-License-Identifier: GPL-3.0-or-later
"""Change messages to attached mounts, and their acknowledgements.

Imports `shared`.
"""
