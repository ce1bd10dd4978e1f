-- Whether POP3 serves an account's unwanted mail in the inbox under a Subject that begins with a tag.

ALTER TABLE account ADD COLUMN tag_subject INTEGER NOT NULL DEFAULT 0;  -- 1: it does
-- Every row is written anew, with all its columns: `repair` knows rows by their shape.
UPDATE account SET tag_subject = 0;
