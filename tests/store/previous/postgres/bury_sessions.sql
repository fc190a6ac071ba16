-- bury_sessions.sql: mark sessions dead whose lease has run out, re-checked here under the row lock
WITH c AS MATERIALIZED (
       SELECT id FROM $schema.worker_sessions
        WHERE state = 'live' AND lease_until <= coalesce(%(lease_now)s, clock_timestamp())
        ORDER BY id LIMIT 100 FOR UPDATE SKIP LOCKED)
UPDATE $schema.worker_sessions s SET state = 'dead', ended_at = %(now)s, state_reason = 'its lease ran out'
  FROM c WHERE s.id = c.id AND s.state = 'live' AND s.lease_until <= coalesce(%(lease_now)s, clock_timestamp())
RETURNING s.id::text, s.name, s.state_reason
