-- var/seen.db: where accounts signed in from, and what they were told of it, as the audit stream has it.

CREATE TABLE seen (                    -- what the settings page shows
    account_id INTEGER NOT NULL,
    way        TEXT NOT NULL,          -- 'web', 'pop3', 'smtp', or with an app password: 'pop3 by phone'
    client     TEXT NOT NULL,          -- an address; '' for this machine
    device     TEXT NOT NULL,          -- of a browser; '' for programs
    first_at   REAL NOT NULL,          -- UTC epoch seconds
    last_at    REAL NOT NULL,          -- UTC epoch seconds
    times      INTEGER NOT NULL,       -- how often
    PRIMARY KEY (account_id, way, client, device)
) WITHOUT ROWID;
CREATE INDEX seen_last ON seen (account_id, last_at);

CREATE TABLE known (                   -- what is nothing new of an account
    account_id INTEGER NOT NULL,
    kind       TEXT NOT NULL,          -- 'network', a /24 or a /64, or 'device'
    name       TEXT NOT NULL,
    last_at    REAL NOT NULL,          -- UTC epoch seconds
    PRIMARY KEY (account_id, kind, name)
) WITHOUT ROWID;
CREATE INDEX known_last ON known (account_id, last_at);

CREATE TABLE told (                    -- how many notices an account got on a day
    account_id INTEGER PRIMARY KEY,
    day        TEXT NOT NULL,          -- '2027-01-31', in UTC
    notices    INTEGER NOT NULL        -- those that would have been one too many, too
);

CREATE TABLE followed (                -- one row: up to which line of the stream all of that is
    id     INTEGER PRIMARY KEY CHECK (id = 1),
    number INTEGER NOT NULL
);
