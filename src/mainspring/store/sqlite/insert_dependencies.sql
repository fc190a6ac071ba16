-- insert_dependencies.sql: say which runs a waiting run needs, and where their results go
INSERT INTO dependencies (run_id, needs_run_id, policy, parameter) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING
