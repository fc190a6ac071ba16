-- insert_dependencies.sql: say which runs a waiting run needs
INSERT INTO dependencies (run_id, needs_run_id, policy) VALUES (?, ?, ?) ON CONFLICT DO NOTHING
