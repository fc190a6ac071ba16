-- move_keys.sql: give keys that are locked by us to other runs, or write down who asked to change their holder
UPDATE $schema.run_keys k
   SET run_id = x.run_id, until_end = x.until_end, expires_at = x.expires_at, asked_by = x.asked_by
  FROM unnest(%s::uuid[], %s::boolean[], %s::timestamptz[], %s::uuid[], %s::text[], %s::text[], %s::uuid[])
       AS x(run_id, until_end, expires_at, asked_by, scope, key, holder)
 WHERE k.scope = x.scope AND k.key = x.key AND k.run_id = x.holder
