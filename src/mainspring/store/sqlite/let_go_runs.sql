-- let_go_runs.sql: make held runs ready again, at the places that they had
UPDATE runs SET state = 'ready', state_reason = NULL WHERE id = ? AND state = 'held' AND attempt = ?
