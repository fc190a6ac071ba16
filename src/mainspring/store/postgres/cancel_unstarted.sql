-- cancel_unstarted.sql: end runs that nobody has claimed and whose ready rows are gone; says for which of them others wait
UPDATE $schema.runs SET state = 'cancelled', state_reason = %(reason)s, finished_at = %(now)s
 WHERE id = ANY(%(ids)s::uuid[]) AND state IN ('scheduled', 'waiting', 'held', 'ready')
RETURNING id::text, awaited
