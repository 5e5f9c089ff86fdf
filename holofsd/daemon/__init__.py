# SPDX-License-Identifier: GPL-3.0-or-later
"""The process: configuration, logging, the composition root, the device as its owner sees it, and the mount supervisor.

`composition` wires everything, `device` answers the Control service, `mounts` keeps mount processes up, `main` is the
console script. Imports every layer below; nothing imports it.
"""
