-- The index of one account: all of it comes from mail.db and the bodies, and is made anew from them
-- where another version of this program made it. Only the newest of these files counts.

CREATE TABLE folder (
    id          INTEGER PRIMARY KEY,   -- mail.db folder.id
    uidvalidity INTEGER NOT NULL,
    uid         INTEGER NOT NULL,      -- up to which its mail is in here
    mails       INTEGER NOT NULL       -- that were in it then; fewer now: some have left it
);

-- A folder's copies by when they came, which their uids don't tell once mail was moved or imported. It
-- may hold what has left the folder: mail.db says what lies there.
CREATE TABLE lying (
    folder_id INTEGER NOT NULL,        -- mail.db folder.id
    at_ms     INTEGER NOT NULL,        -- mail.db delivery.received_at in ms, UTC
    uid       INTEGER NOT NULL,        -- mail.db delivery.uid
    PRIMARY KEY (folder_id, at_ms, uid)
) WITHOUT ROWID;

-- Narrow, for it is read whole when nothing but a size or a day is looked for.
CREATE TABLE mail (
    place       INTEGER PRIMARY KEY,   -- ascends with the time when it came; rowid in words
    id          INTEGER NOT NULL UNIQUE,  -- mail.db message.id
    received_at REAL NOT NULL,         -- UTC epoch seconds
    size_octets INTEGER NOT NULL,      -- as it is served
    files       INTEGER NOT NULL,      -- how many
    thread      INTEGER NOT NULL       -- the same for all mails of a thread
);
CREATE INDEX mail_thread ON mail (thread, place);
CREATE INDEX mail_received ON mail (received_at);

CREATE TABLE shown (
    id             INTEGER PRIMARY KEY,  -- mail.id
    mail_id        TEXT NOT NULL,        -- mail.db message.mail_id: whether it is the same mail
    sender_name    TEXT NOT NULL,
    sender_address TEXT NOT NULL,
    recipients     TEXT NOT NULL,        -- names or addresses, parted by commas
    subject        TEXT NOT NULL,
    snippet        TEXT NOT NULL,
    files          TEXT NOT NULL,        -- JSON array of names
    message_id     TEXT NOT NULL,        -- '' for none
    reply_to       TEXT NOT NULL,        -- JSON array of Message-IDs, the nearest last
    sent_at        REAL,                 -- UTC epoch seconds; NULL where Date can't be read
    words          BLOB NOT NULL         -- what `words` was given, packed: it is taken out by that
);

-- Which thread a Message-ID belongs to, be it of a mail that is here or one that is answered.
CREATE TABLE named (
    name   INTEGER PRIMARY KEY,        -- 63 bits of its digest
    thread INTEGER NOT NULL
);
CREATE INDEX named_thread ON named (thread);

-- An index of beginnings would be half as large again, and find no beginning of three letters sooner
-- than anybody notices.
CREATE VIRTUAL TABLE words USING fts5 (
    sender, recipients, subject, files, body,
    content = '', columnsize = 0,
    tokenize = 'unicode61 remove_diacritics 2'
);
