-- var/greylist.db: who was put off, and who needn't wait. Keys are digests, so that a row has the same
-- size whatever a stranger says, and the file tells nobody who writes to whom.

CREATE TABLE waiting (
    key BLOB PRIMARY KEY,     -- of the client's network, the sender and the recipient
    at  INTEGER NOT NULL      -- when it came first: UTC epoch seconds
) WITHOUT ROWID;
CREATE INDEX waiting_at ON waiting (at);

CREATE TABLE let_through (
    key BLOB PRIMARY KEY,     -- of the client's network and the sender's domain
    at  INTEGER NOT NULL      -- when it was last seen, to a day: UTC epoch seconds
) WITHOUT ROWID;
CREATE INDEX let_through_at ON let_through (at);

CREATE TABLE written_to (
    key BLOB PRIMARY KEY,     -- of an address that an account here has written to
    at  INTEGER NOT NULL      -- when it did so last, to a day: UTC epoch seconds
) WITHOUT ROWID;
CREATE INDEX written_to_at ON written_to (at);
