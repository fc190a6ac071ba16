-- stale_keys.sql: keys that hold nothing any more, at most n of each kind; a look before anything is locked
(SELECT k.scope, k.key, k.run_id::text FROM $schema.run_keys k
  WHERE k.until_end AND NOT EXISTS (
    SELECT 1 FROM $schema.runs r WHERE r.id = k.run_id AND r.state NOT IN ('cancelled', 'failed', 'succeeded'))
  LIMIT %(n)s)
UNION ALL
(SELECT k.scope, k.key, k.run_id::text FROM $schema.run_keys k WHERE k.expires_at <= %(now)s LIMIT %(n)s)
