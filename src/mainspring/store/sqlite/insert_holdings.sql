-- insert_holdings.sql: note what attempts that begin take of limits
INSERT INTO holdings (resource, run_id, attempt) VALUES (?, ?, ?)
ON CONFLICT (resource, run_id) DO UPDATE SET attempt = excluded.attempt
