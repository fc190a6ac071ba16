-- stage_runs.sql: make scheduled or waiting runs ready, each with its place in the order of arrival
UPDATE runs SET state = 'ready', state_reason = NULL, seq = ? WHERE id = ? AND state IN ('scheduled', 'waiting')
