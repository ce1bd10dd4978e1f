-- Where mail for elsewhere goes, outside addresses of accounts, keys that sign, and the gear.
-- alias.target may be an address elsewhere from here on.

CREATE TABLE route (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    pattern       TEXT NOT NULL UNIQUE,           -- local@domain, domain, .suffix or *
    kind          TEXT NOT NULL,                  -- mx smtp smtps lmtp discard refuse hold
    host          TEXT NOT NULL DEFAULT '',       -- name, address, or path of a Unix socket
    port          INTEGER NOT NULL DEFAULT 0,
    user          TEXT NOT NULL DEFAULT '',       -- to sign in as; '' for no sign-in
    password_file TEXT NOT NULL DEFAULT '',       -- whose first line is the password
    tls           TEXT NOT NULL DEFAULT 'may',    -- may verify none
    created_at    REAL NOT NULL                   -- UTC epoch seconds
);

CREATE TABLE send_as (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,  -- never reused
    account_id      INTEGER NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    address         TEXT NOT NULL,                      -- as it stands in From
    key             TEXT NOT NULL,                      -- folded local part @ domain
    host            TEXT NOT NULL,
    port            INTEGER NOT NULL,
    implicit_tls    INTEGER NOT NULL,                   -- 1: TLS from the first octet
    user            TEXT NOT NULL,
    sealed_password BLOB NOT NULL,                      -- under the key in the data folder
    created_at      REAL NOT NULL,                      -- UTC epoch seconds
    UNIQUE (account_id, key)
);

CREATE TABLE dkim_key (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    domain_id    INTEGER NOT NULL REFERENCES domain (id) ON DELETE CASCADE,
    selector     TEXT NOT NULL,
    algorithm    TEXT NOT NULL,                   -- rsa-sha256 or ed25519-sha256
    sealed_key   BLOB NOT NULL,                   -- PKCS 8 DER under the key in the data folder
    public_key   TEXT NOT NULL,                   -- base64 as it stands in p= of the record
    active       INTEGER NOT NULL DEFAULT 1,      -- 1: signs; 0: published still, for mail on its way
    created_at   REAL NOT NULL,                   -- UTC epoch seconds
    UNIQUE (domain_id, selector)
);

CREATE TABLE setting (
    name  TEXT PRIMARY KEY,                       -- 'gear': capture, allow-list or live; 'gear-allow'
    value TEXT NOT NULL
) WITHOUT ROWID;
