-- claim_keys.sql: claim keys that no two runs may have; one that is taken stays with its holder
INSERT INTO run_keys (scope, key, run_id, until_end, expires_at) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (scope, key) DO NOTHING
