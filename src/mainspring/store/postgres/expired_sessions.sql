-- expired_sessions.sql: a session whose lease has run out, else one whose lease will run out soon
SELECT id::text, lease_until <= coalesce(%(lease_now)s, clock_timestamp()) FROM $schema.worker_sessions
 WHERE state = 'live' AND lease_until <= coalesce(%(lease_now)s, clock_timestamp()) + %(ahead_us)s * interval '1 microsecond'
 ORDER BY lease_until LIMIT 1
