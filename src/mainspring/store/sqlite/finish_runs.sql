-- finish_runs.sql: end attempts, each only if it still holds its lease. A row not changed means the lease was lost.
-- Returns those that were changed, and whether other runs wait for them.
UPDATE runs SET state = ?, state_reason = ?, failure_kind = ?, failure_message = ?, failure_signature = ?,
                tries = tries + ?, losses = losses + ?, isolated_losses = isolated_losses + ?,
                returns = CASE WHEN ? THEN returns + 1 ELSE 0 END, due_at = coalesce(?, due_at), finished_at = ?
 WHERE id = ? AND state = 'running' AND attempt = ? AND session_id = ?
RETURNING id, awaited
