-- insert_snapshots.sql: add snapshots that are not there yet; equal ones share a row
INSERT INTO $schema.snapshots (hash, body, created_at)
SELECT * FROM unnest(%s::text[], %s::text[], %s::timestamptz[]) AS s(hash, body, created_at) ORDER BY hash
ON CONFLICT (hash) DO NOTHING
