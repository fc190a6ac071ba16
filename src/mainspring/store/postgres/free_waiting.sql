-- free_waiting.sql: waiting runs that need no other any more, by their count
SELECT id::text FROM $schema.runs WHERE state = 'waiting' AND needs_left <= 0 ORDER BY id LIMIT %(n)s
