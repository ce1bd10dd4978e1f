-- Administrators, and since when a sign-in counts: what was signed in before is signed in no more.

ALTER TABLE account ADD COLUMN admin INTEGER NOT NULL DEFAULT 0;            -- 1: looks after the node
ALTER TABLE account ADD COLUMN sign_in_changed_at REAL NOT NULL DEFAULT 0;  -- UTC epoch seconds: a
                                                  -- new password, disabled or enabled
-- Every row is written anew, with all its columns: `repair` knows rows by their shape.
UPDATE account SET admin = 0, sign_in_changed_at = changed_at;
