-- bury_sessions.sql: mark sessions dead whose lease has run out, re-checked here, or that an earlier boot left behind
UPDATE worker_sessions SET state = 'dead', ended_at = :now,
       state_reason = CASE WHEN boot_id <> :boot_id THEN 'the machine was restarted' ELSE 'its lease ran out' END
 WHERE state = 'live' AND (lease_until <= :lease_now OR boot_id <> :boot_id)
RETURNING id, name, state_reason
