-- insert_snapshots.sql: add snapshots that are not there yet; equal ones share a row
INSERT INTO snapshots (hash, body, created_at) VALUES (?, ?, ?) ON CONFLICT (hash) DO NOTHING
