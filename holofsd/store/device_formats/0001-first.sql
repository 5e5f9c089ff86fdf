-- SPDX-License-Identifier: GPL-3.0-or-later
-- What this device knows apart from its volumes.

CREATE TABLE volumes (
    id        BLOB PRIMARY KEY,       -- 32 bytes
    name      TEXT NOT NULL UNIQUE,   -- on this device
    state     TEXT NOT NULL,          -- 'ready' | 'joining'
    secret    BLOB,                   -- the volume's key seed, where it was created here: the recovery code
    added_ms  INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE invites (                -- issued here
    secret    BLOB PRIMARY KEY,       -- 16 bytes
    volume    BLOB NOT NULL,
    role      INTEGER NOT NULL,
    uses_left INTEGER NOT NULL,       -- -1: no limit
    expires_ms INTEGER NOT NULL,      -- 0: never
    made_ms   INTEGER NOT NULL,
    revoked   INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;

CREATE TABLE redemptions (            -- which device used which invite: asking again gets the same grant
    secret BLOB NOT NULL,
    device BLOB NOT NULL,
    PRIMARY KEY (secret, device)
) WITHOUT ROWID;

CREATE TABLE joins (                  -- tickets not redeemed yet
    volume    BLOB PRIMARY KEY,
    ticket    TEXT NOT NULL,          -- secret
    name      TEXT NOT NULL,
    refused   TEXT NOT NULL DEFAULT '' -- why the issuer refused, once it did
) WITHOUT ROWID;

CREATE TABLE mounts (                 -- mounts to bring back
    path      BLOB PRIMARY KEY,
    volume    BLOB NOT NULL,
    read_only INTEGER NOT NULL,
    binding   TEXT NOT NULL,
    mount_id  TEXT NOT NULL,
    pid       INTEGER NOT NULL,       -- 0: not running
    wanted    INTEGER NOT NULL        -- 1: keep it up
) WITHOUT ROWID;

CREATE TABLE addresses (              -- where devices were reached or said to be
    device   BLOB NOT NULL,
    address  TEXT NOT NULL,           -- 'ip:port' or a relay URL
    seen_ms  INTEGER NOT NULL,
    PRIMARY KEY (device, address)
) WITHOUT ROWID;

CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value BLOB NOT NULL
) WITHOUT ROWID;
