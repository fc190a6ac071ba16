-- pick_ready.sql: the best ready runs of a queue for a live session, and whether limits must be asked for each
SELECT run_id, limited OR coalesce((SELECT limits <> '{}' FROM queues WHERE name = :queue), 0) FROM ready
 WHERE queue = :queue
   AND EXISTS (SELECT 1 FROM worker_sessions WHERE id = :session AND state = 'live' AND lease_until > :lease_now)
   AND NOT EXISTS (SELECT 1 FROM queues WHERE name = :queue AND paused_at IS NOT NULL)
 ORDER BY rank, turn, seq LIMIT :n
