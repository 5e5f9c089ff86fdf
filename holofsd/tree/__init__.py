# SPDX-License-Identifier: GPL-3.0-or-later
"""Tree of a volume on this device: states joined into the index, and projected to names, incrementally.

Imports store, codec and core. Called by sync (records and content from elsewhere) and fs (local operations), which
share one `local.LocalVolume` per volume. The rules are in core; here they are kept up to date in the index.
"""
