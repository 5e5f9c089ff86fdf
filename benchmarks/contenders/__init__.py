# SPDX-License-Identifier: GPL-3.0-or-later
"""HoloFS and what it is measured against, behind two interfaces: a folder to work in (`folders`), and a pair of folders
that are kept the same (`pairs`, `syncthing`). Rows see these interfaces only.
"""
