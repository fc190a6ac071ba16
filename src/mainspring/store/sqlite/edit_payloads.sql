-- edit_payloads.sql: replace the parameters of runs
UPDATE run_payloads SET parameters = ? WHERE run_id = ?
