-- edit_runs.sql: change runs that wait to start, as they were when their rows were locked
UPDATE runs SET queue = ?, priority = ?, due_at = ?, expires_at = ?, state = ?, state_reason = ?, seq = ?
 WHERE id = ? AND attempt = ? AND state = ?
