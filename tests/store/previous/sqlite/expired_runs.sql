-- expired_runs.sql: runs that have not started by the time after which they are worthless; one between tries has
SELECT id FROM runs
 WHERE expires_at IS NOT NULL AND state IN ('scheduled', 'waiting', 'held', 'ready') AND attempt = 0
   AND expires_at <= :now
 ORDER BY expires_at LIMIT :n
