-- What proofs of app passwords are judged by; what the node notes of second factors by itself.

ALTER TABLE token ADD COLUMN proof_keys BLOB;     -- of an app password: SCRAM's salt, iterations and keys
                                                  -- (RFC 5802), the keys under the key in the data folder
-- Every row is written anew, with all its columns: `repair` knows rows by their shape.
UPDATE token SET proof_keys = NULL;

CREATE TABLE factor_use (
    factor_id  INTEGER PRIMARY KEY,               -- users.db factor.id; no foreign key on purpose
    account_id INTEGER NOT NULL,                  -- users.db account.id
    last_step  INTEGER NOT NULL,                  -- of TOTP, the last half minute whose code was taken; else 0
    used_at    REAL NOT NULL,                     -- UTC epoch seconds
    used_from  TEXT NOT NULL                      -- address that it came from, '' for a Unix socket
);
CREATE INDEX factor_use_account ON factor_use (account_id);

CREATE TABLE code_try (                           -- codes that were tried, until a right one or the end of a while
    account_id INTEGER PRIMARY KEY,               -- users.db account.id
    tries      INTEGER NOT NULL,
    since      REAL NOT NULL                      -- UTC epoch seconds of the first
);
