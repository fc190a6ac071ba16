-- held_keys.sql: who holds these keys of a scope, and what became of that run
SELECT k.key, k.run_id, k.until_end, k.expires_at, k.asked_by, r.state
  FROM run_keys k LEFT JOIN runs r ON r.id = k.run_id
 WHERE k.scope = :scope AND k.key IN (SELECT value FROM json_each(:keys))
