-- The mail database: messages, where their copies lie, and what happened.

CREATE TABLE message (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,  -- never reused
    mail_id     TEXT NOT NULL UNIQUE,               -- ULID, made at MAIL
    sender      TEXT NOT NULL,                      -- reverse-path without brackets, '' for <>
    subject     TEXT NOT NULL,                      -- decoded, cut to 200 characters, for lists
    prefix      BLOB NOT NULL,                      -- header fields put in front, CRLF each
    size_octets INTEGER NOT NULL,                   -- of the raw octets, without prefix
    dot_lines   INTEGER NOT NULL,                   -- lines of the raw octets that begin with a dot
    digest      BLOB NOT NULL,                      -- SHA-256 of the raw octets
    codec       TEXT NOT NULL DEFAULT '',           -- how the stored body is compressed, '' for raw
    key_id      INTEGER,                            -- which key seals it, NULL for none
    body        BLOB,                               -- the raw octets, or NULL when they lie in blob
    blob_key    TEXT,                               -- the blob's key, NULL when they lie in body
    received_at REAL NOT NULL                       -- UTC epoch seconds
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
    modseq      INTEGER NOT NULL,
    size_octets INTEGER NOT NULL,                    -- as served: Return-Path, Delivered-To, prefix, raw
    received_at REAL NOT NULL,                       -- UTC epoch seconds
    PRIMARY KEY (folder_id, uid)
) WITHOUT ROWID;
CREATE INDEX delivery_message ON delivery (message_id);

CREATE TABLE journal (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    at        REAL NOT NULL,       -- UTC epoch seconds
    event     TEXT NOT NULL,       -- model.Event.name
    mail_id   TEXT,                -- the mail it happened to
    sender    TEXT,                -- reverse-path, '' for <>
    recipient TEXT,                -- address asked for, or the mailbox of a POP3 session
    folder_id INTEGER,             -- where the copy lies
    uid       INTEGER,
    client    TEXT,                -- address of the other end
    detail    TEXT NOT NULL        -- JSON object
);
CREATE INDEX journal_mail ON journal (mail_id) WHERE mail_id IS NOT NULL;
CREATE INDEX journal_recipient ON journal (recipient) WHERE recipient IS NOT NULL;
CREATE INDEX journal_sender ON journal (sender) WHERE sender IS NOT NULL;
CREATE INDEX journal_at ON journal (at);
