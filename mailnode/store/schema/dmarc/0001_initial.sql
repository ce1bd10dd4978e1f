-- var/dmarc.db: what domains that ask for it are told of mail that says it is from there, by day in UTC.

CREATE TABLE day (
    day      TEXT PRIMARY KEY,            -- '2027-01-31'
    reports  INTEGER NOT NULL DEFAULT 0,  -- rows of report
    rows     INTEGER NOT NULL DEFAULT 0,  -- rows of seen
    octets   INTEGER NOT NULL DEFAULT 0,  -- of their facts, and of the policies
    left_out INTEGER NOT NULL DEFAULT 0   -- mails that are counted nowhere, for want of room
) WITHOUT ROWID;

CREATE TABLE report (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    day        TEXT NOT NULL REFERENCES day (day) ON DELETE CASCADE,
    domain     TEXT NOT NULL,                 -- where the policy stands, A-labels
    record     TEXT NOT NULL,                 -- the policy, as it was published
    rows       INTEGER NOT NULL DEFAULT 0,    -- of seen
    left_out   INTEGER NOT NULL DEFAULT 0,    -- mails that are counted in none of them
    state      TEXT NOT NULL DEFAULT 'open',  -- 'open', 'sent', 'unsent': nobody takes it, or nobody could be asked
    settled_at REAL,                          -- UTC epoch seconds; NULL while it is open
    note       TEXT NOT NULL DEFAULT '',      -- to whom, or why not
    UNIQUE (day, domain, record)
);

CREATE TABLE seen (
    report_id INTEGER NOT NULL REFERENCES report (id) ON DELETE CASCADE,
    key       BLOB NOT NULL,     -- digest of facts
    facts     TEXT NOT NULL,     -- JSON, as mailauth/dmarc_seen.py has it
    mails     INTEGER NOT NULL,  -- that are alike in them
    PRIMARY KEY (report_id, key)
) WITHOUT ROWID;
