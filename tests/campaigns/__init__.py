# SPDX-License-Identifier: GPL-3.0-or-later
"""Long campaigns, run by hand through `scripts/soak`: never part of `scripts/test`."""
