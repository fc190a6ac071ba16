-- expired_sessions.sql: the session whose lease runs out first within :ahead_us, and in how many microseconds; at once
-- (or since when) where it has, or where an earlier boot left it behind
SELECT id, CASE WHEN boot_id <> :boot_id THEN 0 ELSE lease_until - :lease_now END FROM worker_sessions
 WHERE state = 'live' AND (lease_until <= :lease_now + :ahead_us OR boot_id <> :boot_id)
 ORDER BY 2 LIMIT 1
