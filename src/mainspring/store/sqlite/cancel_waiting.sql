-- cancel_waiting.sql: end waiting runs that may never start, each with its reason; says for which of them others wait
UPDATE runs SET state = 'cancelled', state_reason = ?, finished_at = ? WHERE id = ? AND state = 'waiting'
RETURNING id, awaited
