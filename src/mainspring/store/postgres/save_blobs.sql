-- save_blobs.sql: keep large values and logs, by ascending key; a later state of the same log replaces it
INSERT INTO $schema.blobs (key, body, created_at)
SELECT * FROM unnest(%s::text[], %s::bytea[], %s::timestamptz[]) AS b(key, body, created_at) ORDER BY key
ON CONFLICT (key) DO UPDATE SET body = excluded.body
