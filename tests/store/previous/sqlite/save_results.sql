-- save_results.sql: keep the results of runs; which attempt gave it is kept with it
UPDATE run_payloads SET result = ?, result_hash = ?, result_attempt = ? WHERE run_id = ?
