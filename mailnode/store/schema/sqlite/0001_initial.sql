-- The mail database: messages, where their copies lie, and what happened.

-- Ids that the program gives out by the hundred: one row's update instead of a result row each.
CREATE TABLE counter (
    name   TEXT PRIMARY KEY,                        -- 'message'
    next   INTEGER NOT NULL                         -- the id that the next row gets; only grows
) WITHOUT ROWID;
INSERT INTO counter (name, next) VALUES ('message', 1);

CREATE TABLE message (
    id          INTEGER PRIMARY KEY,                -- from counter, never reused
    mail_id     TEXT NOT NULL UNIQUE,               -- ULID, made at MAIL
    sender      TEXT NOT NULL,                      -- reverse-path without brackets, '' for <>
    subject     TEXT NOT NULL,                      -- decoded, cut to 200 characters, for lists
    size_octets INTEGER NOT NULL,                   -- of the raw octets, without prefix
    dot_lines   INTEGER NOT NULL,                   -- lines of the raw octets that begin with a dot
    digest      BLOB NOT NULL,                      -- SHA-256 of the raw octets
    received_at REAL NOT NULL,                      -- UTC epoch seconds
    codec       TEXT NOT NULL DEFAULT '',           -- how the stored body is compressed, '' for raw
    key_id      INTEGER,                            -- which key seals it, NULL for none
    blob_key    TEXT,                               -- the blob's key, NULL when body holds them
    prefix      BLOB NOT NULL,                      -- header fields put in front, CRLF each
    body        BLOB,                               -- the raw octets, NULL when they lie in the blob
    CHECK ((body IS NULL) <> (blob_key IS NULL))
);
CREATE UNIQUE INDEX message_blob ON message (blob_key) WHERE blob_key IS NOT NULL;

CREATE TABLE folder (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,  -- never reused
    account_id   INTEGER NOT NULL,                   -- users.db account.id; no foreign key on purpose
    name         TEXT NOT NULL,                      -- 'INBOX'
    uidvalidity  INTEGER NOT NULL,                   -- RFC 3501 section 2.3.1.1; part of the UIDL
    uid_next     INTEGER NOT NULL DEFAULT 1,         -- the uid that the next copy gets
    modseq       INTEGER NOT NULL DEFAULT 0,         -- grows with each change
    octets       INTEGER NOT NULL DEFAULT 0,         -- sum of delivery.size_octets
    mails        INTEGER NOT NULL DEFAULT 0,         -- count of deliveries
    UNIQUE (account_id, name)
);

CREATE TABLE delivery (
    folder_id   INTEGER NOT NULL REFERENCES folder (id),
    uid         INTEGER NOT NULL,                    -- ascending in the folder, never reused
    message_id  INTEGER NOT NULL REFERENCES message (id),
    recipient   TEXT NOT NULL,                       -- what Delivered-To says
    flags       INTEGER NOT NULL DEFAULT 0,          -- bits: 1 seen
    modseq      INTEGER NOT NULL,                    -- the folder's when it last changed
    size_octets INTEGER NOT NULL,                    -- as served: Return-Path, Delivered-To, prefix, raw
    received_at REAL NOT NULL,                       -- UTC epoch seconds
    PRIMARY KEY (folder_id, uid)
) WITHOUT ROWID;
CREATE INDEX delivery_message ON delivery (message_id);

CREATE TABLE journal (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,  -- ascends with time, so there is no index on at
    at        REAL NOT NULL,       -- UTC epoch seconds
    event     TEXT NOT NULL,       -- model.Event.name
    mail_id   TEXT,                -- the mail it happened to
    sender    TEXT,                -- reverse-path, '' for <>; NULL where another row tells it
    recipient TEXT,                -- address asked for, or the mailbox of a POP3 session
    mailbox   TEXT,                -- whose it is, where that is spelt otherwise than recipient
    folder_id INTEGER,             -- where the copy lies
    uid       INTEGER,             -- of the copy
    client    TEXT,                -- address of the other end
    detail    TEXT NOT NULL        -- JSON object
);
CREATE INDEX journal_mail ON journal (mail_id) WHERE mail_id IS NOT NULL;
CREATE INDEX journal_sender ON journal (sender) WHERE sender IS NOT NULL;
CREATE INDEX journal_recipient ON journal (recipient) WHERE recipient IS NOT NULL;
CREATE INDEX journal_mailbox ON journal (mailbox) WHERE mailbox IS NOT NULL;
