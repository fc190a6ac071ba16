-- cancel_unstarted.sql: end runs that nobody has claimed and whose ready rows are gone; says for which of them others wait
UPDATE runs SET state = 'cancelled', state_reason = :reason, finished_at = :now
 WHERE id IN (SELECT value FROM json_each(:ids)) AND state IN ('scheduled', 'waiting', 'held', 'ready')
RETURNING id, awaited
