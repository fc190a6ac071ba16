-- expired_sessions.sql: sessions whose lease has run out
SELECT id::text FROM $schema.worker_sessions
 WHERE state = 'live' AND lease_until <= coalesce(%(lease_now)s, clock_timestamp()) LIMIT 1
