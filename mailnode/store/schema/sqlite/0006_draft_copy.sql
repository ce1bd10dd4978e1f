-- saved_at stands in the index, for repair takes an entry of three whole numbers for one of delivery_message.

DROP INDEX draft_copy;
CREATE INDEX draft_copy ON draft (folder_id, uid, saved_at);
