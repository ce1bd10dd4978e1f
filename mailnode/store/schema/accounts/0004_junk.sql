-- Where an account's unwanted mail lies: POP3 shows the inbox alone, and who reads by it never sees Junk.

ALTER TABLE account ADD COLUMN junk TEXT NOT NULL DEFAULT 'Junk';  -- a folder's name: Junk or INBOX
-- Every row is written anew, with all its columns: `repair` knows rows by their shape.
UPDATE account SET junk = 'Junk';
