-- var/guard.db: who guessed passwords, who is kept out, where owners signed in.

CREATE TABLE ban (               -- by an administrator
    network TEXT PRIMARY KEY,    -- in its usual form, "192.0.2.0/24"
    made_at REAL NOT NULL,       -- UTC epoch seconds
    until   REAL,                -- UTC epoch seconds; NULL until it is lifted
    reason  TEXT NOT NULL,
    made_by TEXT NOT NULL        -- an account's address, or "command"
);

CREATE TABLE guesser (           -- an address that failed to sign in
    address    TEXT NOT NULL,    -- a /64 of IPv6 as one
    account_id INTEGER NOT NULL, -- of users.db; 0 for all accounts
    guesses    INTEGER NOT NULL, -- in the window, the same one counted once
    began_at   REAL NOT NULL,    -- when the window did: UTC epoch seconds
    until      REAL NOT NULL,    -- it is blocked: UTC epoch seconds, 0 for never yet
    times      INTEGER NOT NULL, -- how often it was
    PRIMARY KEY (address, account_id)
) WITHOUT ROWID;

CREATE TABLE failure (           -- what is slow
    what  TEXT NOT NULL,         -- "address" or "name"
    key   BLOB NOT NULL,         -- a keyed digest of it: a name may be a password, typed in the wrong place
    count REAL NOT NULL,         -- failures that still counted then
    at    REAL NOT NULL,         -- UTC epoch seconds
    PRIMARY KEY (what, key)
) WITHOUT ROWID;

CREATE TABLE known (             -- where an owner signed in
    account_id INTEGER NOT NULL, -- of users.db
    network    BLOB NOT NULL,    -- a keyed digest of it: nobody needs to read where somebody was
    at         REAL NOT NULL,    -- when last, to a day: UTC epoch seconds
    PRIMARY KEY (account_id, network)
) WITHOUT ROWID;
