-- put_back.sql: let runs wait again that were cancelled for this reason before they began; says for which others wait
UPDATE runs SET state = 'waiting', state_reason = NULL, finished_at = NULL, expires_at = NULL, needs_left = 1
 WHERE id = ? AND state = 'cancelled' AND attempt = 0 AND state_reason = ?
RETURNING id, awaited
