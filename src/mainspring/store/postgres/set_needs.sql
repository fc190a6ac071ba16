-- set_needs.sql: write down what runs need, as their worker has found out
UPDATE $schema.runs r SET uses = x.uses, concurrency_key = coalesce(r.concurrency_key, x.key)
  FROM unnest(%s::text[], %s::text[], %s::uuid[], %s::int[], %s::uuid[]) AS x(uses, key, id, attempt, session_id)
 WHERE r.id = x.id AND r.state = 'running' AND r.attempt = x.attempt AND r.session_id = x.session_id
