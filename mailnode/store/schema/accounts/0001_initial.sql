-- users.db: what an owner or an administrator set, and nothing else (rollback-journal mode).

CREATE TABLE domain (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,  -- ascending: the lowest is the first domain
    name       TEXT NOT NULL UNIQUE,               -- lower-case A-labels
    created_at REAL NOT NULL                       -- UTC epoch seconds
);

CREATE TABLE account (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,  -- never reused: a re-made account inherits no mail
    domain_id     INTEGER NOT NULL REFERENCES domain (id),
    local         TEXT NOT NULL,                      -- as it was written, unquoted
    key           TEXT NOT NULL UNIQUE,               -- folded local part @ domain
    password_hash TEXT NOT NULL,                      -- argon2id, PHC string; '' lets nobody in
    disabled      INTEGER NOT NULL DEFAULT 0,         -- 1: takes no mail, signs in nowhere
    demo          INTEGER NOT NULL DEFAULT 0,         -- 1: its password is published
    quota_octets  INTEGER,                            -- NULL: the node's default; 0: no limit
    quota_mails   INTEGER,                            -- NULL: the node's default; 0: no limit
    created_at    REAL NOT NULL,                      -- UTC epoch seconds
    changed_at    REAL NOT NULL                       -- UTC epoch seconds
);
CREATE INDEX account_domain ON account (domain_id);
-- Where the ids begin: two files of accounts have none in common, so that under another users.db
-- nobody is given the mail of somebody else.
INSERT INTO sqlite_sequence (name, seq) VALUES ('account', abs(random() % 4294967296) * 1048576);

CREATE TABLE alias (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    domain_id  INTEGER NOT NULL REFERENCES domain (id),
    local      TEXT NOT NULL,                         -- '*' is the catch-all
    key        TEXT NOT NULL,                         -- folded local part @ domain
    target     TEXT NOT NULL,                         -- an address of this node
    created_at REAL NOT NULL,                         -- UTC epoch seconds
    UNIQUE (key, target)
);
CREATE INDEX alias_domain ON alias (domain_id);
