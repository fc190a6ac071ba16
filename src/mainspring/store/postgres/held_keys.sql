-- held_keys.sql: who holds these keys of a scope, and what became of that run
SELECT k.key, k.run_id::text, k.until_end, k.expires_at, k.asked_by::text, r.state
  FROM $schema.run_keys k LEFT JOIN $schema.runs r ON r.id = k.run_id
 WHERE k.scope = %(scope)s AND k.key = ANY(%(keys)s::text[])
