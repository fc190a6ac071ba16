-- cancel_unstarted.sql: end runs that nobody has claimed; their ready rows are gone already
UPDATE $schema.runs SET state = 'cancelled', state_reason = %(reason)s, finished_at = %(now)s
 WHERE id = ANY(%(ids)s::uuid[]) AND state IN ('scheduled', 'waiting', 'held', 'ready')
RETURNING id::text
