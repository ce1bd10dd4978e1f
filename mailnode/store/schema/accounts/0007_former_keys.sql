-- SCRAM's keys of the passwords that an account had before: a proof that fails is compared with them, for
-- the same old password again is no further guess. They let nobody in.

ALTER TABLE former_password ADD COLUMN salt BLOB;           -- as they stood in scram_key; NULL, all three:
ALTER TABLE former_password ADD COLUMN iterations INTEGER;  -- none are known of it
ALTER TABLE former_password ADD COLUMN keys BLOB;           -- under the key in the data folder
-- Every row is written anew, with all its columns: `repair` knows rows by their shape.
UPDATE former_password SET salt = NULL, iterations = NULL, keys = NULL;
