-- Who is signed in on the web, the tokens of programs, and what was answered to a key of theirs.

-- Secrets are random and 256 bits long, so their plain hash tells nobody what they are.
CREATE TABLE web_session (
    key_hash   BLOB PRIMARY KEY,                  -- SHA-256 of what the cookie says
    account_id INTEGER NOT NULL,                  -- users.db account.id; no foreign key on purpose
    made_at    REAL NOT NULL,                     -- UTC epoch seconds of the sign-in
    used_at    REAL NOT NULL,                     -- of the last request, up to a minute late
    expires_at REAL NOT NULL,                     -- when it ends, however much it is used
    client     TEXT NOT NULL,                     -- address it was made from, '' for a Unix socket
    agent      TEXT NOT NULL,                     -- User-Agent, cut to 200 characters
    csrf       TEXT NOT NULL                      -- what its unsafe requests must say
) WITHOUT ROWID;
CREATE INDEX web_session_account ON web_session (account_id);

CREATE TABLE token (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,  -- never reused
    key_hash   BLOB NOT NULL UNIQUE,              -- SHA-256 of the token
    account_id INTEGER NOT NULL,                  -- users.db account.id; no foreign key on purpose
    name       TEXT NOT NULL,                     -- what its owner calls it
    scopes     TEXT NOT NULL,                     -- read send manage admin, parted by spaces
    made_at    REAL NOT NULL,                     -- UTC epoch seconds
    expires_at REAL,                              -- UTC epoch seconds; NULL for never
    used_at    REAL,                              -- of the last request, up to a minute late
    used_from  TEXT                               -- address that it came from
);
CREATE INDEX token_account ON token (account_id);

CREATE TABLE idempotency (
    account_id     INTEGER NOT NULL,              -- users.db account.id
    key            TEXT NOT NULL,                 -- Idempotency-Key, as it was sent
    request_digest BLOB NOT NULL,                 -- SHA-256 of the request: the same key, the same
    mail_id        TEXT NOT NULL,                 -- the mail that it made
    answer         TEXT NOT NULL,                 -- JSON, as it was answered
    at             REAL NOT NULL,                 -- UTC epoch seconds
    PRIMARY KEY (account_id, key)
) WITHOUT ROWID;
CREATE INDEX idempotency_at ON idempotency (at);
