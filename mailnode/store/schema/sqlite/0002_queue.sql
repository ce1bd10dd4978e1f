-- Mail on its way to other hosts: a row a recipient, in the commit that accepts.

INSERT INTO counter (name, next) VALUES ('queue', 1);

CREATE TABLE queue (
    id           INTEGER PRIMARY KEY,             -- from counter, never reused
    message_id   INTEGER NOT NULL REFERENCES message (id),
    mail_id      TEXT NOT NULL,                   -- message.mail_id
    sender       TEXT NOT NULL,                   -- the reverse-path it leaves with, '' for <>
    recipient    TEXT NOT NULL,                   -- the address it goes to
    domain       TEXT NOT NULL,                   -- of the recipient, lower-case A-labels
    alias        TEXT,                            -- the address here that led to it
    account_id   INTEGER NOT NULL DEFAULT 0,      -- who submitted it; 0 for nobody of ours
    send_as      INTEGER NOT NULL DEFAULT 0,      -- users.db send_as.id it leaves by; 0 for none
    priority     INTEGER NOT NULL,                -- 0 before 1 before 2
    state        TEXT NOT NULL,                   -- 'waiting', 'leased', 'held', 'captured'
    due_at       REAL NOT NULL,                   -- UTC epoch seconds of the next attempt
    leased_by    TEXT,                            -- which process attempts it; NULL unless leased
    leased_until REAL,                            -- when another one may take it
    attempts     INTEGER NOT NULL DEFAULT 0,      -- that have ended
    last_at      REAL,                            -- when the last one ended
    last_host    TEXT,                            -- whom it was made to
    last_reply   TEXT,                            -- what that said: code, enhanced code, words
    noticed_at   REAL,                            -- when the sender was told of the delay
    bounce       TEXT,                            -- why an administrator wants it bounced, or NULL
    notify       TEXT NOT NULL DEFAULT '',        -- RFC 3461 NOTIFY; '' when not said
    orcpt        TEXT NOT NULL DEFAULT '',        -- RFC 3461 ORCPT; '' when not said
    ret          TEXT NOT NULL DEFAULT '',        -- RFC 3461 RET; '' when not said
    envid        TEXT NOT NULL DEFAULT '',        -- RFC 3461 ENVID; '' when not said
    smtputf8     INTEGER NOT NULL DEFAULT 0,      -- 1: it came with SMTPUTF8
    queued_at    REAL NOT NULL                    -- UTC epoch seconds; expiry counts from here
);
CREATE INDEX queue_message ON queue (message_id);
-- Each state has the index that its questions need, so a row is in one of them at a time. The state
-- stands in it, or SQLite looks each row up for it.
CREATE INDEX queue_next ON queue (domain, send_as, priority, due_at, state)
    WHERE state = 'waiting';
CREATE INDEX queue_leased ON queue (leased_by, leased_until, state) WHERE state = 'leased';
CREATE INDEX queue_kept ON queue (state) WHERE state IN ('held', 'captured');
