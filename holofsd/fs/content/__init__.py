# SPDX-License-Identifier: GPL-3.0-or-later
"""Content and attributes of files: open handles, staging, finalizing, versions, hashing, and where the bytes are.

Imports `nodes`, `changes` and `shared`.
"""
