# SPDX-License-Identifier: GPL-3.0-or-later
"""Imports and exports: walks the folder that a person named, and moves content between it and the files of the device.

The process of the command does this, not the daemon: a folder on a filesystem that does not answer holds up nobody
else. Called by `commands.transfers`.
"""
