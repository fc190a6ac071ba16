-- hold_runs.sql: hold back ready runs; their ready rows are gone already
UPDATE runs SET state = 'held', state_reason = ? WHERE id = ? AND state = 'ready' AND attempt = ?
