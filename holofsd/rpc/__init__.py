# SPDX-License-Identifier: GPL-3.0-or-later
"""The local API over gRPC: thin handlers that validate, call and convert.

`server` listens on the Unix socket; `filesystem_service` leads to `holofsd.fs`, `control_service` to a `DeviceService`
(`device_api`) that the daemon implements. Errors become a status and a detail in `errors`, and nowhere else. Imports fs
and below; only the daemon calls it.
"""
