# SPDX-License-Identifier: GPL-3.0-or-later
"""Mounts as clients: attaching, re-attaching and going; their journals, and the async creates in them.

Imports `names`, `content`, `nodes`, `changes` and `shared`.
"""
