-- Drafts, and the files that will go with them. A draft itself is a mail in the folder Drafts.

CREATE TABLE draft (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,  -- never reused
    account_id INTEGER NOT NULL,                   -- users.db account.id; no foreign key on purpose
    folder_id  INTEGER NOT NULL,                   -- where its newest text lies
    uid        INTEGER NOT NULL,                   -- and which copy that is
    saved_at   REAL NOT NULL                       -- UTC epoch seconds
);
CREATE UNIQUE INDEX draft_copy ON draft (folder_id, uid);

CREATE TABLE upload (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,  -- never reused
    account_id  INTEGER NOT NULL,                   -- users.db account.id
    draft_id    INTEGER NOT NULL,                   -- draft.id
    name        TEXT NOT NULL,                      -- as its reader will see it
    kind        TEXT NOT NULL,                      -- media type
    size_octets INTEGER NOT NULL,
    blob_key    TEXT NOT NULL UNIQUE,               -- in var/uploads
    content_id  TEXT NOT NULL DEFAULT '',           -- what the HTML shows it by; '' for an attachment
    made_at     REAL NOT NULL                       -- UTC epoch seconds
);
CREATE INDEX upload_draft ON upload (draft_id);
