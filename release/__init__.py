# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds what HoloFS is installed from: sdist, wheel and Debian package, and tries each in a clean root.

`scripts/release` is the way in. `tree` copies what is built from, `dists` builds sdist and wheel, `wheelhouse` fetches
the locked dependencies, `deb` builds the Debian package, `trial` and `clean_root` try them.
"""
