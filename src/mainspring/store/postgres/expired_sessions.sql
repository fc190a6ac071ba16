-- expired_sessions.sql: the session whose lease runs out first within ahead_us, and in how many microseconds
SELECT id::text, (extract(epoch FROM lease_until - coalesce(%(lease_now)s, clock_timestamp())) * 1000000)::bigint
  FROM $schema.worker_sessions
 WHERE state = 'live' AND lease_until <= coalesce(%(lease_now)s, clock_timestamp()) + %(ahead_us)s * interval '1 microsecond'
 ORDER BY lease_until LIMIT 1
