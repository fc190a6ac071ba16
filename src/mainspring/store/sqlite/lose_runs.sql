-- lose_runs.sql: take attempts away from a session that is not live; the fence is the same as for finishing.
-- Returns those that were taken, and whether other runs wait for them.
UPDATE runs SET state = ?, state_reason = ?, failure_kind = ?, failure_message = ?, failure_signature = ?,
                losses = losses + ?, isolated_losses = isolated_losses + ?, finished_at = ?
 WHERE id = ? AND state = 'running' AND attempt = ? AND session_id = ?
RETURNING id, awaited
