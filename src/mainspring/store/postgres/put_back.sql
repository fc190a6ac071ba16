-- put_back.sql: let runs wait again that were cancelled for this reason before they began; says for which others wait
WITH x AS MATERIALIZED (SELECT * FROM unnest(%s::uuid[], %s::text[]) AS x(id, reason)),
     l AS MATERIALIZED (
       SELECT r.id FROM $schema.runs r
        WHERE r.id = ANY(ARRAY(SELECT id FROM x)) AND r.state = 'cancelled' ORDER BY r.id FOR UPDATE)
UPDATE $schema.runs r
   SET state = 'waiting', state_reason = NULL, finished_at = NULL, expires_at = NULL, needs_left = 1
  FROM x JOIN l ON l.id = x.id
 WHERE r.id = x.id AND r.state = 'cancelled' AND r.attempt = 0 AND r.state_reason = x.reason
RETURNING r.id::text, r.awaited
