-- How people sign in, beside the hash of their password: SCRAM's keys, passwords of before, second
-- factors; and who looks after a domain. Each table has one row id and a shape that no other table
-- has: `repair` knows rows by it.

ALTER TABLE account ADD COLUMN password_changed_at REAL NOT NULL DEFAULT 0;  -- UTC epoch seconds: by a
                                                  -- person; a hash that is renewed leaves it
-- Every row is written anew, with all its columns: `repair` knows rows by their shape.
UPDATE account SET password_changed_at = sign_in_changed_at;

CREATE TABLE scram_key (                          -- none: made at the next sign-in that says the password
    account_id INTEGER PRIMARY KEY REFERENCES account (id) ON DELETE CASCADE,
    salt       BLOB NOT NULL,
    iterations INTEGER NOT NULL,
    keys       BLOB NOT NULL                      -- StoredKey and ServerKey (RFC 5802) under the key in
                                                  -- the data folder; of a demo account as they are
);

CREATE TABLE former_password (                    -- the last few of each account, so that none comes back
    id            INTEGER PRIMARY KEY,            -- ascending: the highest is the latest
    account_id    INTEGER NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    password_hash TEXT NOT NULL,                  -- as it stood in account
    replaced_at   REAL NOT NULL                   -- UTC epoch seconds
);
CREATE INDEX former_password_account ON former_password (account_id);

CREATE TABLE factor (                             -- a second factor; an account with none has no row
    id            INTEGER PRIMARY KEY AUTOINCREMENT,  -- never reused
    account_id    INTEGER NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    kind          TEXT NOT NULL,                  -- totp, mail or command
    name          TEXT NOT NULL,                  -- what its owner calls it
    target        TEXT NOT NULL,                  -- where a code is sent: an address, a number; '' for totp
    sealed_secret BLOB NOT NULL,                  -- of totp, under the key in the data folder; else x''
    created_at    REAL NOT NULL,                  -- UTC epoch seconds
    UNIQUE (account_id, name)
);

CREATE TABLE recovery_code (                      -- each signs in once where a second factor is lost
    id         INTEGER PRIMARY KEY,
    account_id INTEGER NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    key_hash   BLOB NOT NULL UNIQUE,
    created_at REAL NOT NULL,                     -- UTC epoch seconds
    used_at    REAL                               -- UTC epoch seconds; NULL: not yet
);
CREATE INDEX recovery_code_account ON recovery_code (account_id);

CREATE TABLE domain_admin (                       -- who looks after the accounts of a domain
    id         INTEGER PRIMARY KEY,
    account_id INTEGER NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    domain_id  INTEGER NOT NULL REFERENCES domain (id) ON DELETE CASCADE,
    created_at REAL NOT NULL,                     -- UTC epoch seconds
    UNIQUE (account_id, domain_id)
);
