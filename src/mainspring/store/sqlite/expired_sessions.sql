-- expired_sessions.sql: a session whose lease has run out (or that an earlier boot left behind), else one that will soon
SELECT id, lease_until <= :lease_now OR boot_id <> :boot_id FROM worker_sessions
 WHERE state = 'live' AND (lease_until <= :lease_now + :ahead_us OR boot_id <> :boot_id)
 ORDER BY 2 DESC LIMIT 1
