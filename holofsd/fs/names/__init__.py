# SPDX-License-Identifier: GPL-3.0-or-later
"""Operations on names: create, link, remove, rename; recently freed names; conflicts as a person chooses between them.

Imports `content`, `nodes` and `shared`.
"""
