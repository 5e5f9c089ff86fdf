# SPDX-License-Identifier: GPL-3.0-or-later
"""The window of a device: a page for a browser of this machine, served on 127.0.0.1 by a process of its own.

A client of the daemon like `holofsctl`: it imports `holofs_api` alone, and all that it shows and does are calls of
`holofs.v1`. The daemon starts it when `holofsctl ui` asks for a link (`holofsd/daemon/window.py`). `main` is the
program, `app` the routes, `guard` what every request has to pass, `sessions` who may come in, `page/` what the browser
gets. docs/window.md describes it, docs/threats.md says against whom it holds.
"""
