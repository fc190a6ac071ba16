-- bury_sessions.sql: mark sessions dead whose lease has run out, re-checked here under the row lock. A session that began
-- on the same host after this one was last seen, in another boot, shows that the machine was restarted.
WITH c AS MATERIALIZED (
       SELECT id FROM $schema.worker_sessions
        WHERE state = 'live' AND lease_until <= coalesce(%(lease_now)s, clock_timestamp())
        ORDER BY id LIMIT 100 FOR UPDATE SKIP LOCKED)
UPDATE $schema.worker_sessions s
   SET state = 'dead', ended_at = %(now)s,
       state_reason = CASE WHEN EXISTS (SELECT 1 FROM $schema.worker_sessions o WHERE o.host = s.host
                                           AND o.boot_id <> s.boot_id AND o.started_at > s.seen_at)
                           THEN 'the machine was restarted' ELSE 'its lease ran out' END
  FROM c WHERE s.id = c.id AND s.state = 'live' AND s.lease_until <= coalesce(%(lease_now)s, clock_timestamp())
RETURNING s.id::text, s.name, s.state_reason
