-- insert_payloads.sql: add the parameters of runs
INSERT INTO run_payloads (run_id, parameters) VALUES (?, ?) ON CONFLICT (run_id) DO NOTHING
