# SPDX-License-Identifier: GPL-3.0-or-later
"""Parts that every room of the filesystem uses: the scope of one volume, open handles, staging files, attributes of
inode numbers, and the lineage of versions.

Imports no other room.
"""
