-- Who sends much through one destination holds up nobody else there: accounts have turns.

DROP INDEX queue_next;
CREATE INDEX queue_next ON queue (domain, send_as, priority, account_id, due_at, state)
    WHERE state = 'waiting';
