-- free_waiting.sql: waiting runs that need no other any more, by their count
SELECT id FROM runs WHERE state = 'waiting' AND needs_left <= 0 ORDER BY id LIMIT :n
