-- claim_keys.sql: claim keys that no two runs may have, ascending; one that is taken stays with its holder.
-- The update changes nothing but locks the key, so that whoever asks at the same moment waits for our answer.
INSERT INTO $schema.run_keys AS k (scope, key, run_id, until_end, expires_at)
SELECT * FROM unnest(%s::text[], %s::text[], %s::uuid[], %s::boolean[], %s::timestamptz[])
              AS x(scope, key, run_id, until_end, expires_at) ORDER BY scope, key
ON CONFLICT (scope, key) DO UPDATE SET scope = k.scope
