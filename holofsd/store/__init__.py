# SPDX-License-Identifier: GPL-3.0-or-later
"""Storage on disk: the index of a volume (SQLite), its content and staging files, and the device's own database.

Imports core and codec. Called by tree, sync, fs and daemon. Decides nothing: rows and files in, rows and files out.
"""
