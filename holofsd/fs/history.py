# SPDX-License-Identifier: GPL-3.0-or-later
"""The past of one volume, for those who ask: versions, trash, bringing things back, and how long all of it is kept."""

from __future__ import annotations

from holofsd.fs.contents import Contents
from holofsd.fs.keeping import Keeping
from holofsd.fs.restoring import Restoring
from holofsd.fs.scope import Scope
from holofsd.fs.trash import Trash
from holofsd.fs.versions import Versions
from holofsd.tree.past import Past


class History:
    def __init__(self, scope: Scope, contents: Contents, versions: Versions) -> None:
        self.past = Past(scope.tree)
        self.trash = Trash(scope, self.past)
        self.restoring = Restoring(scope, contents, versions, self.past)
        self.keeping = Keeping(scope, self.trash)
